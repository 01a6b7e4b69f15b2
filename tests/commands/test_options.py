"""The command line, the help and the page of options say what Config says."""

import argparse
import dataclasses
import re
import runpy
from pathlib import Path

import pytest

from bad_input import refused
from minialex.commands import train as page
from minialex.commands.train import parser
from minialex.errors import ConfigError, DeviceError
from minialex.gpu import devices
from minialex.models.alexnet import AlexNet
from minialex.schedules import make_schedule
from minialex.train.config import (
    GROUPS,
    INITS,
    SCHEDULES,
    Config,
    change,
    configure,
    flag,
    from_settings,
    options,
    value_type,
)
from minialex.train.recipes import RECIPES, TABLES

ROOT = Path(__file__).parents[2]
NAMES = [field.name for field in options()]
FIELDS = {field.name: field for field in options()}
PAGE = runpy.run_path(str(ROOT / "docs" / "options_page.py"))["options_page"]()


def given(*arguments):
    return vars(parser().parse_args(arguments))


def help_of(name):
    """What --help says of an option, in one line."""
    text = re.sub(r"\s+", " ", parser().format_help().partition("options:")[2])
    return re.search(rf"(?<= ){flag(name)}[ ,].*?\(default: .*?\)(?= (?:--|\w+:))", text)[0]


def test_every_field_but_what_a_run_notes_by_itself_is_an_option_of_a_group():
    assert {field.name for field in dataclasses.fields(Config)} - {*NAMES} == {
        "colours",
        "edition",
    }
    assert {field.metadata["group"] for field in options()} == set(GROUPS)


@pytest.mark.parametrize("name", NAMES)
def test_help_and_the_page_have_choices_and_default_of_every_option(name):
    field, text = FIELDS[name], help_of(name)
    row = next(line for line in PAGE.splitlines() if f"| `{flag(name)}`" in line)
    row = row.replace("\\", "")
    for choice in field.metadata["choices"]:
        assert choice in text and choice in row
    shown = page.default(field)
    assert f"(default: {shown})" in text and row.endswith(f"| {shown} |")
    assert page.explain(field) in text and page.explain(field) in row


def test_where_recipes_differ_the_default_of_each_is_shown():
    assert page.default(FIELDS["epochs"]) == "drawings 2, modern 60, paper 90, krizhevsky 91"
    assert page.default(FIELDS["seed"]) == "0" and page.default(FIELDS["cache"]) == "yes"
    for name in NAMES:
        values = {RECIPES[recipe].get(name, FIELDS[name].default) for recipe in RECIPES}
        assert len(values) == 1 or page.default(FIELDS[name]).count(",") == 3 or name == "recipe"


def test_help_has_80_columns_however_wide_the_terminal_is(monkeypatch):
    for columns in ("40", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        made = parser()
        made.prog = "python -m minialex train"
        lines = made.format_help().splitlines()
        assert 70 < max(map(len, lines)) <= 80
    assert "examples:" in lines and "  python -m minialex train --data pets --ten-crop" in lines


def test_the_page_is_the_file_in_docs():
    file = ROOT / "docs" / "options.md"
    line = "run: python docs/options_page.py > docs/options.md"
    assert file.read_text(encoding="utf-8") == PAGE, line


def test_options_that_are_not_given_stay_out():
    assert given() == {}
    assert given("--no-cache", "--lr", "0.5", "--out", "x") == {
        "cache": False, "lr": 0.5, "out": "x",
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_an_option_gives_a_value_of_its_type(name):
    kind = value_type(FIELDS[name])
    words = [flag(name), *{bool: [], int: ["2"], float: ["0.5"], str: ["a"]}[kind]]
    if FIELDS[name].metadata["choices"]:
        words[1:] = FIELDS[name].metadata["choices"][:1]
    (value,) = given(*words).values()
    assert type(value) is kind
    config = configure({name: value})
    assert getattr(config, name) == value
    assert from_settings(dataclasses.asdict(config)) == config


def test_memory_is_given_in_units():
    assert given("--memory-limit", "1.5GB") == {"memory_limit": 1_500_000_000}


def test_cuda_is_another_name_of_the_gpu(monkeypatch):
    monkeypatch.setattr(devices, "gpu_problem", lambda: "there is none")
    with refused(DeviceError, "--device gpu: there is none"):
        devices.choose_device("cuda")
    assert configure(given("--device", "cuda")).device == "gpu"
    assert change(Config(), {"device": "cuda"}).device == "gpu"


def test_choices_are_those_of_the_pages_that_know_them():
    for name, known, make in (
        (
            "schedule",
            [name for name in SCHEDULES if name not in TABLES],
            lambda name: make_schedule(name, 9),
        ),
        ("init", INITS, lambda name: AlexNet(2, width=0.02, image_size=67, init=name)),
    ):
        for choice in known:
            make(choice)
        with refused(ConfigError, f"unknown {name} 'x'; choose {', '.join(known)}"):
            make("x")


def test_a_resumed_run_may_change_some_options():
    assert change(Config(), {"epochs": 9, "patience": 3, "keep_last": True}).epochs == 9
    for name in ("lr", "data", "recipe", "plateau_patience"):
        with refused(ConfigError, f"{flag(name)} cannot be changed when a run is resumed"):
            change(Config(), {name: getattr(Config(), name)})


def test_settings_of_wrong_types_are_refused():
    for settings, words in (
        ([1], "no dictionary"), ({"epochs": "3"}, "epochs is '3'"), ({"data": 7}, "data is 7"),
        ({"colour": 1}, "'colour'"),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=words):
            from_settings(settings)


def test_the_parser_is_one_of_argparse():
    assert isinstance(parser(), argparse.ArgumentParser)
