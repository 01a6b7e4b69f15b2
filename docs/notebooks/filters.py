"""AlexNet at 1/8 of its width learns to tell drawn cats from dogs; watch its first filters change.

    pip install marimo
    marimo edit docs/notebooks/filters.py           in the browser; or run it as a plain program

One core is enough: about a minute.  Nothing here uses a thread, so that it also runs where there
are none.  Chapter 8 (docs/book/08-alexnet.md) is about the network.
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium")


@app.cell
def _():
    import base64
    import io
    import os

    import marimo as mo
    import numpy as np
    from PIL import Image

    import minialex as mx
    from minialex.transforms import CenterCrop, Compose, Resize, ToArray

    return CenterCrop, Compose, Image, Resize, ToArray, base64, io, mo, mx, np, os


@app.cell
def _(mo):
    mo.md(
        """
        # Filters that learn

        conv1 of this small AlexNet has 12 filters of 11 x 11 x 3 numbers, drawn here as pictures:
        grey is 0. They begin as noise. No one tells them what to become; each step moves them a
        little against the gradient of the loss.
        """
    )
    return


@app.cell
def _(os):
    steps = int(os.environ.get("STEPS", "200"))  # how many; 32 drawings each
    return (steps,)


@app.cell
def _(CenterCrop, Compose, Resize, ToArray, mx):
    drawings = list(mx.Drawings(640, size=72))
    middle = Compose([Resize(72), CenterCrop(67), ToArray()])
    loader = mx.DataLoader(drawings, 32, middle, shuffle=True, workers=0)
    model = mx.AlexNet(2, width=1 / 8, image_size=67, dropout=0.0)
    optimizer = mx.Adam(model, lr=1e-3)
    return loader, model, optimizer


@app.cell
def _(Image, base64, io, np):
    def picture(weight):
        """The filters (11, 11, 3, F) side by side as one PNG, grey for 0."""
        tiles = np.pad(weight / (4 * weight.std()) + 0.5, ((1, 1), (1, 1), (0, 0), (0, 0)))
        row = np.concatenate(list(tiles.transpose(3, 0, 1, 2)), axis=1)
        image = Image.fromarray((255 * row.clip(0, 1)).astype(np.uint8))
        image = image.resize((4 * image.width, 4 * image.height), Image.Resampling.NEAREST)
        file = io.BytesIO()
        image.save(file, "PNG")
        data = base64.b64encode(file.getvalue()).decode()
        return f'<img alt="filters" style="max-width:100%" src="data:image/png;base64,{data}">'

    return (picture,)


@app.cell
def _(loader, mo, model, mx, optimizer, picture, steps):
    def train():
        """The losses, and the filters after each ten steps."""
        losses, seen = [], [model.features[0].params["weight"].copy()]
        while len(losses) < steps:
            for images, labels in loader:
                logits, cache = model.forward(images)
                loss, dlogits = mx.softmax_cross_entropy(logits, labels)
                model.backward(dlogits, cache, optimizer.grad)
                optimizer.step()
                losses.append(float(loss))
                if len(losses) % 10 == 0:
                    seen.append(model.features[0].params["weight"].copy())
                    mean = sum(losses[-10:]) / 10
                    said = f"<p>step {len(losses)}: loss {mean:.3f}</p>"
                    mo.output.replace(mo.Html(picture(seen[-1]) + said))
                if len(losses) == steps:
                    break
        return losses, seen

    losses, seen = train()
    first, last = (sum(part) / len(part) for part in (losses[:10], losses[-10:]))
    moved = abs(seen[-1] - seen[0]).mean() / abs(seen[0]).mean()
    print(f"loss {first:.3f} -> {last:.3f}; the filters moved by {moved:.0%} of their size")
    return losses, seen


@app.cell
def _(mo, seen):
    at = mo.ui.slider(
        0, len(seen) - 1, value=len(seen) - 1, label="look at step (in tens)", show_value=True
    )
    mo.vstack([at])
    return (at,)


@app.cell
def _(at, losses, mo, picture, seen):
    _loss = losses[max(0, 10 * at.value - 1)]
    _change = seen[at.value] - seen[0]
    mo.vstack(
        [
            mo.md(f"After step {10 * at.value}, at a loss of {_loss:.3f}:"),
            mo.Html(picture(seen[at.value])),
            mo.md("What learning added to the noise that they began as:"),
            mo.Html(picture(_change) if at.value else "nothing yet"),
        ]
    )
    return


if __name__ == "__main__":
    app.run()
