"""The history of a run: its rows, as `fit` returns them, and its curves."""

import math

from minialex.page import Html, element, inlay, table

MOST_ROWS = 20
FORMS = {"och": "d", "oss": ".4f", "acc": ".1%", "r_s": ",.0f"}  # by the last 3 letters of a name


class History(list[dict[str, float]]):
    """A list of a dict per epoch; a notebook shows its curves, and its last rows as a table."""

    def curves(self, *below: Html) -> Html:
        """Curves of loss and accuracy, side by side where there is room, to show in a notebook."""
        return inlay(chart("loss", self), chart("accuracy", self), *below)

    def _repr_html_(self) -> str | None:
        if not self:
            return None  # and the notebook shows []
        some = self[-MOST_ROWS:]
        rows = [[f"{row[key]:{FORMS[key[-3:]]}}" for key in row] for row in some]
        names = [key.replace("_per_", "/").replace("_", " ") for key in self[-1]]
        caption = f"The last {len(some)} of {len(self):,} epochs"
        return self.curves(table(caption, names, rows, "history"))


def chart(what: str, history: list[dict[str, float]]) -> Html:
    """The curves of "loss" or "accuracy", of training and validation, as SVG.

    Its axes begin with 0 and end with the last epoch, and with the largest loss or 100 %.
    """
    kind, form = what[:4].replace("accu", "acc"), ".4f" if what == "loss" else ".1%"
    lines = dict[str, list[tuple[float, float]]]()
    for part, key in (("training", f"train_{kind}"), ("validation", f"val_{kind}")):
        points = [(row["epoch"], row.get(key, math.nan)) for row in history]
        lines[part] = [point for point in points if math.isfinite(point[1])]
    most = max((y for line in lines.values() for _, y in line), default=1) if kind == "loss" else 1
    top = element("span", f"{what} {most:{form}}", class_="top")
    drawn, texts = [], [element("span", f"epoch {len(history):,}:")]
    for part, line in lines.items():
        # The last point, twice, is a dot where it is the only one.
        places = " ".join(f"{x:g},{most - y:g}" for x, y in line + line[-1:])
        drawn.append(element("polyline", points=places, class_=part))
        texts += [element("span", f"{part} {y:{form}}", class_=part) for _, y in line[-1:]]
    box = {"viewBox": f"0 0 {len(history)} {most:g}", "preserveAspectRatio": "none"}
    picture = element("svg", *drawn, **box, role="img", aria_label=f"{what} by epoch")
    return element("figure", top, picture, element("figcaption", *texts), class_="chart")
