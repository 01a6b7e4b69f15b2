"""The loss and a step, to play with: how long should a step be, and how many animals should it ask?

    pip install marimo
    marimo edit docs/notebooks/learning.py          in the browser; or run it as a plain program

It is the program of chapter 0 (docs/book/00-what-learning-is.md), with its gradient by the chain
rule.
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium")


@app.cell
def _():
    import marimo as mo
    import numpy as np

    return mo, np


@app.cell
def _(mo):
    mo.md(
        """
        # The loss and a step

        Two numbers describe an animal; three parameters decide whether it is a cat or a dog. Each
        step moves the parameters against the gradient, `theta ← theta - lr · g`.

        Try a learning rate of 0.02, then of 30. Then ask only one animal before each step.
        """
    )
    return


@app.cell
def _(mo):
    rate = mo.ui.slider(
        steps=[0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30],
        value=0.2,
        label="learning rate",
        show_value=True,
    )
    batch = mo.ui.slider(
        steps=[1, 2, 5, 10, 20, 50, 200], value=20, label="animals per step", show_value=True
    )
    steps = mo.ui.slider(1, 120, value=60, label="steps", show_value=True)
    mo.hstack([rate, batch, steps], justify="start")
    return batch, rate, steps


@app.cell
def _(np):
    def animals(rng, count):
        label = rng.choice([-1, 1], count)
        x = rng.standard_normal((count, 2)) + label[:, None]
        return x, label

    def loss(theta, x, label):
        return np.logaddexp(0, -label * (x @ theta[:2] + theta[2])).mean()

    def gradient(theta, x, label):  # chapter 1 derives it: dL/dscore first, then dL/dtheta
        score = x @ theta[:2] + theta[2]
        dscore = -label / (1 + np.exp(np.minimum(label * score, 700))) / len(x)
        return np.array([*(x.T @ dscore), dscore.sum()])

    return animals, gradient, loss


@app.cell
def _(animals, batch, gradient, loss, np, rate, steps):
    rng = np.random.default_rng(0)
    x, label = animals(rng, 200)
    theta, losses = np.zeros(3), []
    for _step in range(steps.value):
        losses.append(loss(theta, x, label))
        chosen = rng.choice(200, batch.value, replace=False)
        theta = theta - rate.value * gradient(theta, x[chosen], label[chosen])
    losses.append(loss(theta, x, label))
    right = (label * (x @ theta[:2] + theta[2]) > 0).mean()
    print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}, {right:.1%} right")
    return label, losses, right, theta, x


@app.cell
def _(label, losses, mo, np, right, theta, x):
    def animals_svg():
        """The animals, and the line where the score is 0."""
        dots = "".join(
            f'<circle cx="{30 * a + 150:.1f}" cy="{150 - 30 * b:.1f}" r="3"'
            f' fill="{"#d9822b" if kind < 0 else "#2b6cb0"}"/>'
            for (a, b), kind in zip(x, label, strict=True)
        )
        normal = theta[:2] / max(np.hypot(*theta[:2]), 1e-9)
        foot = -theta[2] / max(np.hypot(*theta[:2]), 1e-9) * normal
        (x1, y1), (x2, y2) = (foot + side * np.array([-normal[1], normal[0]]) for side in (-9, 9))
        line = (
            f'<line x1="{30 * x1 + 150:.1f}" y1="{150 - 30 * y1:.1f}"'
            f' x2="{30 * x2 + 150:.1f}" y2="{150 - 30 * y2:.1f}" stroke="currentColor"/>'
        )
        return f'<svg viewBox="0 0 300 300" width="300">{dots}{line}</svg>'

    def losses_svg():
        """The loss after each step; the top is 1."""
        across = 280 / max(1, len(losses) - 1)
        points = " ".join(
            f"{10 + across * i:.1f},{290 - 280 * min(value, 1):.1f}"
            for i, value in enumerate(losses)
        )
        return (
            '<svg viewBox="0 0 300 300" width="300"><path d="M10 10V290H290" fill="none"'
            f' stroke="gray"/><polyline points="{points}" fill="none" stroke="#2b6cb0"/></svg>'
        )

    mo.vstack(
        [
            mo.hstack([mo.Html(animals_svg()), mo.Html(losses_svg())], justify="start"),
            mo.md(f"Loss {losses[0]:.3f} → **{losses[-1]:.3f}**, {right:.1%} right."),
        ]
    )
    return


if __name__ == "__main__":
    app.run()
