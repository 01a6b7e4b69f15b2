"""The options of a training run on the command line, made from Config.

From the same, docs/options_page.py makes the page docs/options.md.
"""

import argparse
import dataclasses
import re
from typing import Any

from minialex.commands.main import Formatter
from minialex.train import config
from minialex.train.config import GROUPS, flag, options, value_type
from minialex.train.recipes import RECIPES

METAVARS: dict[type, str] = {int: "N", float: "X", str: "NAME"}
OF_NO_SURPRISE = (None, config.ZERO_OR_MORE, config.ONE_OR_MORE, config.FINITE)
FOLDERS = {  # the two options that are no part of the settings
    "out": "folder of the new run (default: runs/<data>-<variant>-<number>)",
    "resume": "go on with the run in this folder"}  # fmt: skip


def training_parser(description: str, examples: str = "") -> argparse.ArgumentParser:
    """A parser of all options of Config, in their groups, and of --out and --resume.

    Only those that are given appear in its result, so that a recipe can fill in the others.
    """
    parser = argparse.ArgumentParser(usage="%(prog)s [options]", description=description,
        epilog=examples, formatter_class=Formatter, argument_default=argparse.SUPPRESS)  # fmt: skip
    groups = {name: parser.add_argument_group(name) for name in GROUPS}
    for field in options():
        about, kind = field.metadata, value_type(field)
        how: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
        if kind is not bool:
            how = {"type": about["parse"] or kind, "metavar": about["metavar"] or METAVARS[kind]}
        text = f"{explain(field)} (default: {default(field)})"
        groups[about["group"]].add_argument(flag(field.name), help=text.replace("%", "%%"), **how)
    for name, text in FOLDERS.items():
        groups["run"].add_argument(flag(name), metavar="RUN", help=text)
    return parser


def explain(field: dataclasses.Field) -> str:
    """What an option means, with its choices and limits."""
    text, choices, limits = (field.metadata[name] for name in ("text", "choices", "limits"))
    if not all(re.search(rf"\b{choice}\b", text) for choice in choices):
        text += f": {', '.join(choices[:-1])} or {choices[-1]}"
    if limits not in OF_NO_SURPRISE:
        text += f"; {limits[0]}"
    return text


def default(field: dataclasses.Field) -> str:
    """The default of an option; where recipes differ, of each: "drawings 2, paper 90"."""
    if shown := field.metadata["shown"]:
        return shown
    words = {True: "yes", False: "no"} if value_type(field) is bool else {}
    values = {name: recipe.get(field.name, field.default) for name, recipe in RECIPES.items()}
    texts = {name: words.get(value, str(value)) for name, value in values.items()}
    if len(set(texts.values())) == 1:
        return texts.popitem()[1]
    return ", ".join(f"{name} {text}" for name, text in texts.items())
