"""A 3 x 3 convolution, alive: move one pixel, and see y, X, dX and dx move.

    pip install marimo
    marimo edit docs/notebooks/convolution.py       in the browser; or run it as a plain program

The derivation is chapter 4 (docs/book/04-convolution.md), the code minialex/layers/conv.py.
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium")


@app.cell
def _():
    import marimo as mo
    import numpy as np

    from minialex.layers.conv import Conv2d, im2col

    return Conv2d, im2col, mo, np


@app.cell
def _(mo):
    mo.md(
        """
        # A convolution that you can touch

        An image x of 5 x 5 numbers, a filter W of 3 x 3, an output y of 3 x 3. The loss is
        L = ½ Σ y², so that dy = y. Choose a pixel and change it. What moved is shown in orange: the
        outputs whose window holds the pixel (and whose weight on it is not 0), its copies in X, and
        what comes back.
        """
    )
    return


@app.cell
def _(mo):
    row = mo.ui.slider(0, 4, value=2, label="row", show_value=True)
    column = mo.ui.slider(0, 4, value=2, label="column", show_value=True)
    value = mo.ui.slider(-9, 9, value=5, label="its new value", show_value=True)
    mo.hstack([row, column, value], justify="start")
    return column, row, value


@app.cell
def _(Conv2d, im2col, np):
    layer = Conv2d(1, 1, 3).to(dtype=np.float64)
    layer.params["weight"][..., 0, 0] = [[1, 0, -1], [2, 0, -2], [1, 0, -1]]  # finds edges

    def all_of(x):
        """Every array of one forward and one backward pass, by name."""
        grad = {"weight": np.zeros((3, 3, 1, 1)), "bias": np.zeros(1)}
        y, cache = layer.forward(x)
        dx = layer.backward(y, cache, grad)  # dy = y
        dX = y.reshape(9, 1) @ layer.params["weight"].reshape(1, 9)
        X = im2col(x, 3, 1, 0).reshape(9, 9)
        W = layer.params["weight"][..., 0, 0]
        return {"x": x[0, ..., 0], "W": W, "y": y[0, ..., 0], "X": X, "dX": dX, "dx": dx[0, ..., 0]}

    start = np.array(
        [[0, 0, 1, 3, 3], [0, 1, 3, 3, 1], [1, 3, 3, 1, 0], [3, 3, 1, 0, 0], [3, 1, 0, 0, 0.0]]
    ).reshape(1, 5, 5, 1)
    return all_of, start


@app.cell
def _(all_of, column, row, start, value):
    moved = start.copy()
    moved[0, row.value, column.value, 0] = value.value
    before, after = all_of(start), all_of(moved)
    counts = {name: int((before[name] != after[name]).sum()) for name in after}
    print("numbers that moved:", counts)
    return after, before, moved


@app.cell
def _(all_of, after, column, moved, row):
    def loss(x):
        return (all_of(x)["y"] ** 2).sum() / 2

    def numeric(h=1e-5):
        """How fast L moves with the pixel, asked by moving it."""
        at = (0, row.value, column.value, 0)
        right, left = moved.copy(), moved.copy()
        right[at] += h
        left[at] -= h
        return (loss(right) - loss(left)) / (2 * h)

    slopes = numeric(), after["dx"][row.value, column.value]
    print(f"dL/dx of the pixel: {slopes[0]:.4f} by moving it, {slopes[1]:.4f} by backward")
    return (slopes,)


@app.cell
def _(after, before, mo, slopes):
    def table(name, note):
        """An array as a table; what moved is orange."""
        cells = "".join(
            "<tr>"
            + "".join(
                f'<td style="padding:2px 7px;text-align:right;'
                f'{"background:#d9822b;color:#000" if new != old else ""}">{new:g}</td>'
                for new, old in zip(*rows, strict=True)
            )
            + "</tr>"
            for rows in zip(after[name], before[name], strict=True)
        )
        return mo.Html(f"<div><b>{name}</b> {note}<table>{cells}</table></div>")

    mo.vstack(
        [
            mo.hstack(
                [
                    table("x", "the image"), table("W", "the filter"), table("y", "= dy"),
                    table("dx", "added up from dX"),
                ],
                justify="start", gap=3,
            ),
            mo.hstack(
                [table("X", "one patch a row"), table("dX", "dy times W, one patch a row")],
                justify="start", gap=3,
            ),
            mo.md(
                f"dL/dx of the pixel: {slopes[0]:.4f} by moving it a little, **{slopes[1]:.4f}** by"
                " backward."
            ),
        ]
    )  # fmt: skip
    return


if __name__ == "__main__":
    app.run()
