"""The curves of a run in a notebook: in the history that `fit` returns, and live."""

import sys
from typing import Any

from minialex.page import element, inlay, table
from minialex.train.chart import charts
from minialex.train.screen import Bar, ImageBar, Screen

FORMS = {"epoch": "d", "loss": ".4f", "acc": ".1%", "s": ",.0f"}  # by a column's last word


class History(list[dict[str, float]]):
    """A list of a dict per epoch; a notebook shows its curves, and its last 20 rows as a table."""

    def _repr_html_(self) -> str:
        some = self[-20:]
        rows = [[f"{row[key]:{FORMS[key.rpartition('_')[2]]}}" for key in row] for row in some]
        below = table(f"The last {len(some)} epochs", next(iter(some), ()), rows, "history")
        return inlay(*charts({"": self}), below)


class Notebook(Screen):
    """Lines below the cell, and above them the curves and a bar, which change where they stand.

    `ipython` is the module IPython.display.  This is also the file that a bar is written to.
    """

    encoding = "utf-8"  # or tqdm draws with #

    def __init__(self, interval: int, ipython: Any):
        super().__init__(interval)
        self.html = ipython.HTML
        self.places = [ipython.display(self.html(""), display_id=True) for _ in range(2)]

    def bar(self, name: str, images: int, done: int = 0) -> Bar:
        """A bar for `images` images, `done` of which are done already."""
        return ImageBar(name, images, done, file=self)

    def write(self, text: str) -> None:
        """Show a bar, in place of the one that is there."""
        self.places[1].update(self.html(element("pre", text.strip(), style="margin:0 7px")))

    def curves(self, history: list[dict[str, float]]) -> None:
        """Show the curves up to now, in place of those that are there."""
        self.places[0].update(self.html(inlay(*charts({"": history}))))


def choose_screen(interval: int) -> Screen:
    """A Notebook in a kernel of Jupyter, else a Screen.  IPython is not imported to find out."""
    ipython = sys.modules.get("IPython")
    if ipython and hasattr(ipython.get_ipython(), "kernel"):
        return Notebook(interval, sys.modules["IPython.display"])
    return Screen(interval)
