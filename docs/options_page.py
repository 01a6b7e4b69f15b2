"""The page of all options, made from Config: python docs/options_page.py > docs/options.md"""

import textwrap

from minialex.commands.train import default, explain
from minialex.train.config import GROUPS, flag, options, value_type

PAGE_HEAD = """\
# Options of a training run

`minialex train --help` prints the same. An option that you leave out has the value of the recipe
(`--recipe`), which is drawings for drawings and modern for photos; where only one default stands
here, all recipes share it. This page is printed by `python docs/options_page.py`, from
`minialex/train/config.py`.
"""
RESUMED = """\
`--out RUN` names the folder of a new run, by default `runs/` with the data, the variant and a
number. `--resume RUN` goes on with a run; all its options are those it began with, but you may
change """


def options_page():
    """The text of docs/options.md."""
    lines = PAGE_HEAD.splitlines()
    for group in GROUPS:
        lines += ["", f"## {group.capitalize()}", "", "| option | what it does | default |"]
        lines.append("| --- | --- | --- |")
        for field in options():
            if field.metadata["group"] == group:
                no = f", `--no-{flag(field.name)[2:]}`" if value_type(field) is bool else ""
                name, text = f"`{flag(field.name)}`{no}", explain(field)
                lines.append(f"| {name} | {text} | {default(field)} |".replace("<", "\\<"))
    may_change = [f"`{flag(field.name)}`" for field in options() if field.metadata["may_change"]]
    lines += ["", *textwrap.wrap(RESUMED + f"{', '.join(may_change)}.", 100)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(options_page(), end="")
