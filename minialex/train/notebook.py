"""What a training run shows in a notebook of Jupyter: bars and lines, and curves above them."""

import importlib
import sys
from typing import Any

from minialex.page import element
from minialex.train.history import History
from minialex.train.screen import Bar, Screen, TerminalBar


class Notebook(Screen):
    """Lines below the cell, and above them the curves and a bar, which change where they stand.

    `ipython` is the module IPython.display.  This is also the file that the bar is written to.
    """

    encoding = "utf-8"  # else the bar is one of #

    def __init__(self, interval: int, ipython: Any):
        super().__init__(interval)
        self.html = ipython.HTML
        self.places = [ipython.display(self.html(""), display_id=True) for _ in range(2)]

    def bar(self, name: str, images: int, done: int = 0) -> Bar:
        """A bar for `images` images, `done` of which are done already."""
        return TerminalBar(name, images, done, self)

    def write(self, text: str) -> None:
        """Show a bar, in place of the one that is there."""
        self.places[1].update(self.html(element("pre", text.strip())))

    def flush(self) -> None:
        """Show what was written, as it is already."""

    def curves(self, history: list[dict[str, float]]) -> None:
        """Show the curves up to now, in place of those that are there."""
        self.places[0].update(self.html(History(history).curves()))


def choose_screen(interval: int) -> Screen:
    """A Notebook in a kernel of Jupyter, else a Screen.  IPython is not imported to find out."""
    ipython = sys.modules.get("IPython")
    if ipython and hasattr(ipython.get_ipython(), "kernel"):
        return Notebook(interval, importlib.import_module("IPython.display"))
    return Screen(interval)
