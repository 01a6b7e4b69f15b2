"""Your own photos: a folder for each class, a small network, and a look at its mistakes.

    pip install marimo
    marimo edit docs/notebooks/photos.py            in the browser; or run it as a plain program

As a notebook of Jupyter: `marimo export ipynb docs/notebooks/photos.py -o photos.ipynb`.
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium")


@app.cell
def _():
    import tempfile
    from pathlib import Path

    import marimo as mo

    import minialex as mx
    from minialex.transforms import CenterCrop, Compose, RandomHorizontalFlip, Resize, ToArray

    return CenterCrop, Compose, Path, RandomHorizontalFlip, Resize, ToArray, mo, mx, tempfile


@app.cell
def _(mo):
    mo.md(
        """
        # Your own photos

        A folder holds `train/` and `val/`, each of them has a folder for each class, and what is in
        there is that class. So that you can begin at once, the next cell draws such photos. For
        your own, give `folder` their place and leave the drawing out; all else stays as it is.
        """
    )
    return


@app.cell
def _(Path, mx, tempfile):
    folder = Path(tempfile.mkdtemp())
    for _part, _count, _seed in (("train", 1000, 0), ("val", 200, 1)):
        _drawings = mx.Drawings(_count, size=48, seed=_seed)
        for _name in _drawings.classes:
            (folder / _part / _name).mkdir(parents=True)
        for _i, (_image, _label) in enumerate(_drawings):
            _image.save(folder / _part / _drawings.classes[_label] / f"{_i}.png")
    return (folder,)


@app.cell
def _(CenterCrop, Compose, RandomHorizontalFlip, Resize, ToArray, folder, mx):
    photos, others = mx.ImageFolder(folder / "train"), mx.ImageFolder(folder / "val")
    middle = [Resize(40), CenterCrop(36)]
    loader = mx.DataLoader(
        photos, 20, Compose([*middle, RandomHorizontalFlip(), ToArray()]), shuffle=True, workers=0
    )
    val = mx.DataLoader(others, 50, Compose([*middle, ToArray()]), workers=0)
    print(f"{len(photos)} photos to learn from, {len(others)} to try: {', '.join(photos.classes)}")
    return loader, others, val


@app.cell
def _(folder, loader, mo, mx, others, val):
    model = mx.Sequential(
        mx.Conv2d(3, 16, 5, stride=2),
        mx.ReLU(),
        mx.MaxPool2d(2),
        mx.Conv2d(16, 32, 3, padding=1),
        mx.ReLU(),
        mx.MaxPool2d(2),
        mx.Flatten(),
        mx.Linear(32 * 4 * 4, len(others.classes)),
    )
    # Interrupt it, run the cell again, and it goes on from where it was: `run` keeps all it takes.
    history = mx.fit(model, loader, mx.Adam(model, lr=2e-3), epochs=10, val=val, run=folder / "run")
    mo.Html(history._repr_html_())
    return (model,)


@app.cell
def _(mo):
    mo.md(
        """
        Does validation follow training, or does it stay behind? Then the network learns its photos
        by heart, and more photos help most. Below stand the mistakes, the surest first. Is the
        network wrong, or is it the label?
        """
    )
    return


@app.cell
def _(folder, mo, model, mx, others, val):
    loss, accuracy = mx.evaluate(model, val)
    predictor = mx.Predictor(folder / "run")
    answers = [(others.classes[label], predictor.predict(path)) for path, label in others.samples]
    mistakes = [answer for truth, answer in answers if answer["class"] != truth]
    mistakes.sort(key=lambda answer: -answer["probability"])
    print(f"loss {loss:.3f}, {accuracy:.1%} right, {len(mistakes)} mistakes of {len(answers)}")
    mo.vstack([mo.Html(answer._repr_html_()) for answer in mistakes[:4]])
    return


if __name__ == "__main__":
    app.run()
