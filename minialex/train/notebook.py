"""What a training run shows in a notebook of Jupyter: a bar, and curves that grow by the epoch."""

import importlib
import sys
import time
from typing import Any

from minialex.page import Html, element, inlay
from minialex.train.history import charts
from minialex.train.screen import Bar, LogBar, Screen

SELDOM = 0.2  # seconds between two looks of a bar: a browser has more to do


class Notebook(Screen):
    """A bar and curves below the cell, which change where they stand; and lines.

    `ipython` is the module IPython.display.
    """

    def __init__(self, interval: int, ipython: Any):
        super().__init__(interval)
        self.ipython, self.shown = ipython, dict[str, Any]()

    def show(self, what: str, page: Html) -> None:
        """Show a bar or curves, in place of those that are there."""
        page = self.ipython.HTML(page)
        if what in self.shown:
            self.shown[what].update(page)
        else:
            self.shown[what] = self.ipython.display(page, display_id=True)

    def bar(self, name: str, images: int, done: int = 0) -> Bar:
        """A bar for `images` images, `done` of which are done already."""
        return NotebookBar(self, name, images, done)

    def curves(self, history: list[dict[str, float]]) -> None:
        """Show the curves of loss and accuracy up to now."""
        self.show("curves", inlay(charts(history)))


class NotebookBar(LogBar):
    """The browser's own bar, and beside it what a log file would say."""

    screen: Notebook
    next = 0.0

    def is_due(self) -> bool:
        return time.perf_counter() >= self.next

    def show(self, line: str) -> None:
        bar = element("progress", value=self.done, max=self.images)
        self.screen.show("bar", element("div", bar, f" {line}"))
        self.next = time.perf_counter() + SELDOM

    def close(self) -> None:
        self.screen.show("bar", Html("<div></div>"))


def choose_screen(interval: int) -> Screen:
    """A Notebook in a kernel of Jupyter, else a Screen.  IPython is not imported to find out."""
    ipython = sys.modules.get("IPython")
    if ipython and hasattr(ipython.get_ipython(), "kernel"):
        return Notebook(interval, importlib.import_module("IPython.display"))
    return Screen(interval)
