"""The cats and dogs of the drawings, made of ears, skull, muzzle, eyes, body and tail.

A network takes any shortcut that the data offers: if dogs were brown more often than cats, it
would learn brown.  So `Look` holds all that a cat and a dog have in common -- pose, coat,
markings, colours -- and is drawn from the random generator before the class is looked at.  These
then have one distribution for both, and only shapes differ:

    cat   pointed ears on top, short muzzle, small triangular nose, whiskers, large slit eyes,
          long thin tail
    dog   hanging or rounded ears, long muzzle, large round nose, at times a tongue, small eyes,
          short tail

Numbers below are head coordinates (see `tools.py`): (x, y) or (x, y, z), then the radii of an
ellipse.
"""

import math

import numpy as np
from numpy.random import Generator
from PIL import Image

from minialex.data.drawings.tools import Brush, Point, View, between, mix, pick, rgb, smooth, vary

# fmt: off
COATS = rgb(
    "28262a 525056 807e84 b0b0b4 f0ece4 faf6f0 768294 543626 825434 be6e32 de8e40 a47858 "
    "d0a876 e2be8c ecd6b4 f4deb8"
)
IRISES = rgb("966a38 ce9642 c8b25a 96b064 6e9cb0 7882c8")
NOSES = rgb("1e1a1c 28242c 342624 462e2a 6e3e3a")
COLLARS = rgb("ce3432 2c60be 28965a ecb428 9646aa 1e1e24")
PINK = (244, 178, 168)
PATTERNS = ["plain", "stripes", "spots", "patch", "blaze", "mask"]

# Outlines of one ear in head coordinates (x, y), right side, from the middle of the head outwards.
CAT_EARS = [
    [(0.16, -0.74), (0.36, -1.15), (0.66, -1.62), (0.88, -1.12), (0.96, -0.40)],
    [(0.22, -0.74), (0.52, -1.12), (0.92, -1.45), (1.00, -0.95), (0.96, -0.30)],
    [(0.12, -0.78), (0.30, -1.25), (0.52, -1.80), (0.80, -1.20), (0.92, -0.45)]]
DOG_EARS = [
    # Three that hang before the skull: drop, long, folded over.
    [(0.36, -0.84), (0.86, -0.88), (1.20, -0.40), (1.34, 0.50), (1.06, 0.84), (0.78, 0.36),
     (0.74, -0.30)],
    [(0.36, -0.84), (0.90, -0.86), (1.24, -0.20), (1.36, 0.90), (1.10, 1.30), (0.76, 0.80),
     (0.72, -0.20)],
    [(0.24, -0.84), (0.62, -1.24), (1.12, -1.06), (1.36, -0.40), (1.10, -0.20), (0.80, -0.52)],
    # Two that stand behind it: held out, upright with a round end.
    [(0.40, -0.86), (0.90, -1.00), (1.50, -0.60), (1.72, 0.00), (1.44, 0.18), (1.06, -0.20)],
    [(0.16, -0.72), (0.36, -1.30), (0.66, -1.62), (1.02, -1.50), (1.08, -1.00), (0.94, -0.40)]]
DOG_EAR_ODDS = [0.31, 0.28, 0.22, 0.13, 0.06]
# fmt: on


class Look:
    """What cat and dog share: pose, coat, markings and colours, for a canvas of `side` pixels."""

    def __init__(self, rng: Generator, side: int) -> None:
        self.has_body = rng.random() < 0.6
        scale = between(rng, 0.23, 0.29) if self.has_body else between(rng, 0.27, 0.35)
        x = 0.5 + between(rng, -1, 1) * (0.46 - 1.2 * scale)
        y = between(rng, 0.37, 0.51) if self.has_body else between(rng, 0.48, 0.62)
        yaw, pitch = between(rng, -0.5, 0.5), between(rng, 0.08, 0.34)
        roll = between(rng, -0.3, 0.3)
        self.view = View((x * side, y * side), scale * side, yaw, pitch, roll)
        self.body_view = View((x * side, y * side), scale * side, 0.0, 0.0, 0.25 * roll)

        self.coat = vary(rng, pick(rng, COATS), 14)
        self.second = vary(rng, pick(rng, COATS), 14)
        self.line = mix(self.coat, (24, 18, 20), between(rng, 0.75, 1.0))
        self.line_width = max(1, round(scale * side * between(rng, 0.045, 0.075)))
        self.pattern = pick(rng, PATTERNS)
        self.ear = self.coat if rng.random() < 0.6 else self.second
        light, dark = mix(self.coat, (250, 240, 225), 0.6), mix(self.coat, (30, 24, 24), 0.4)
        self.muzzle = pick(rng, [self.coat, self.second, light, light, dark])
        self.inner_ear = pick(rng, [mix(self.ear, PINK, 0.6), mix(self.ear, (30, 20, 20), 0.2)])
        self.iris, self.nose = vary(rng, pick(rng, IRISES), 14), vary(rng, pick(rng, NOSES), 10)
        self.collar = pick(rng, COLLARS) if self.has_body and rng.random() < 0.4 else None
        self.head_width = between(rng, 0.9, 1.1)
        self.tail_side = -1 if rng.random() < 0.5 else 1


def draw_animal(canvas: Image.Image, rng: Generator, look: Look, label: int) -> None:
    """Draw a cat (label 0) or a dog (label 1) on the canvas.

    Back to front, since what comes later hides what came before: tail, body, ears, head, face.
    """
    brush = Brush(canvas, look.line, look.line_width)
    if look.has_body:
        _tail(brush, rng, look, label)
        _body(brush, rng, look)
    (_cat_head, _dog_head)[label](brush, rng, look)


def _tail(brush: Brush, rng: Generator, look: Look, label: int) -> None:
    """A cat's tail is long, thin and curved; a dog's short, with a broad root and a pointed end."""
    lift, side = between(rng, -0.3, 0.3), look.tail_side
    if label == 0:
        middle = [(0.8, 2.3), (1.5, 2.2), (1.8, 1.5), (1.5, 0.9), (1.7 + lift, 0.2)]
        widths = [0.12] * 5
    else:
        middle = [(0.8, 2.2), (1.2, 1.9), (1.5, 1.5), (1.6 + lift, 1.0)]
        widths = [0.3, 0.26, 0.2, 0.06]
    spine, half = np.array(middle), np.array(widths)[:, None]
    along = np.gradient(spine, axis=0)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    across = half * across / np.linalg.norm(along, axis=1, keepdims=True)
    outline = smooth(np.concatenate([spine + across, (spine - across)[::-1]]), rounds=2) * [side, 1]
    brush.shape(look.coat, look.body_view.flat_pixels(outline))


def _body(brush: Brush, rng: Generator, look: Look) -> None:
    """A sitting body seen from the front, the same for both classes."""
    view, fat = look.body_view, between(rng, 0.55, 0.8)
    torso = view.hull((0, 0.7, 0, 0.5, 0.4), (0, 1.3, 0, fat, 0.5), (0, 2.3, 0, fat + 0.3, 0.6))
    brush.shape(look.coat, torso)
    _markings(brush, rng, look, view, torso, 1.9)
    for x in (-0.32, 0.32):
        brush.shape(look.coat, view.hull((x, 1.6, 0, 0.2, 0.3), (x, 2.7, 0, 0.22, 0.2)))
    if look.collar:
        left, right = (-0.45, 0.95, 0, 0.12, 0.12), (0.45, 0.95, 0, 0.12, 0.12)
        brush.shape(look.collar, view.hull(left, (0, 1.1, 0, 0.2, 0.12), right))


def _jitter(rng: Generator, outline: list[Point]) -> np.ndarray:
    """An ear of its own: the outline (k, 2) stretched a little about its root."""
    points = np.array(outline)
    root = points[[0, -1]].mean(axis=0)
    return root + (points - root) * [between(rng, 0.85, 1.15), between(rng, 0.85, 1.15)]


def _both(view: View, outline: np.ndarray) -> list[np.ndarray]:
    """An outline (k, 2) on the right of the head and its mirror image, in pixels."""
    return [view.pixels(outline * [side, 1]) for side in (1, -1)]


def _cat_head(brush: Brush, rng: Generator, look: Look) -> None:
    """A wide skull, two pointed ears, large eyes with slits, a small triangular nose, whiskers."""
    view, w = look.view, look.head_width
    ear = _jitter(rng, pick(rng, CAT_EARS))
    cheeks = [(x, 0.25, 0.1, 0.72 * w, 0.56) for x in (-0.3, 0.3)]
    skull = view.hull((0, -0.15, 0, 0.88 * w, 0.75), *cheeks)
    inner = ear.mean(axis=0) + 0.6 * (ear - ear.mean(axis=0)) + [0, -0.06]
    for outer, pink in zip(_both(view, ear), _both(view, inner), strict=True):
        brush.shape(look.ear, outer)
        brush.fill(pink, look.inner_ear)
    brush.shape(look.coat, skull)
    _markings(brush, rng, look, view, skull, 0.8)

    open_eye, slit = between(rng, 0.2, 0.26), between(rng, 0.04, 0.09)
    _eyes(brush, look, (0.4, -0.12), open_eye, (slit, 0.85 * open_eye))
    puffs = [view.ellipse(x, 0.42, 0.82, 0.23, 0.19) for x in (-0.17, 0.17)]
    brush.shape(look.muzzle, *puffs, share=0.4)
    nose = np.array([(-0.14, 0.2), (0.14, 0.2), (0.03, 0.34), (-0.03, 0.34)])
    brush.fill(view.pixels(nose, 0.95), look.nose)
    for points in ([(0, 0.3), (0, 0.44), (-0.16, 0.54)], [(0, 0.44), (0.16, 0.54)]):
        brush.stroke(view.pixels(np.array(points), 0.95), look.line, 0.7)

    whisker = mix(look.muzzle, (255, 255, 255) if sum(look.muzzle) < 400 else (20, 20, 20), 0.8)
    length, droop = between(rng, 0.8, 1.2), between(rng, -0.15, 0.2)
    for side in (-1, 1):
        for k in (-1, 0, 1):
            root, tip = (0.26, 0.4 + 0.07 * k), (0.26 + length, 0.4 + 0.2 * k + droop)
            brush.stroke(view.pixels(np.array([root, tip]) * [side, 1], 0.85), whisker, 0.6)


def _dog_head(brush: Brush, rng: Generator, look: Look) -> None:
    """A long muzzle that juts out of a narrower skull, a large round nose, mostly hanging ears."""
    view, w = look.view, look.head_width
    kind = int(rng.choice(len(DOG_EARS), p=DOG_EAR_ODDS))
    ear = smooth(_jitter(rng, DOG_EARS[kind]))
    skull = view.hull((0, -0.2, 0, 0.84 * w, 0.74), (0, 0.35, 0.2, 0.66 * w, 0.58))
    hangs = kind < 3
    if not hangs:
        brush.shape(look.ear, *_both(view, ear))
    if kind == 4:
        for points in _both(view, ear.mean(axis=0) + 0.55 * (ear - ear.mean(axis=0))):
            brush.fill(points, look.inner_ear)
    brush.shape(look.coat, skull)
    _markings(brush, rng, look, view, skull, 0.8)
    if hangs:
        for points in _both(view, ear):
            brush.shape(look.ear, points, share=0.8)

    open_eye = between(rng, 0.12, 0.17)
    _eyes(brush, look, (0.36, -0.2), open_eye, (0.8 * open_eye, 0.8 * open_eye))
    length, broad = between(rng, 0.35, 0.85), between(rng, 0.3, 0.4)
    end = 0.8 + length
    if rng.random() < 0.4:
        tongue = view.hull((0.05, 0.75, end - 0.15, 0.13, 0.1), (0.08, 0.98, end - 0.1, 0.13, 0.14))
        brush.shape((226, 96, 110), tongue, share=0.6)
    muzzle = view.hull((0, 0.2, 0.6, broad + 0.08, 0.36), (0, 0.42, end, broad, 0.3))
    brush.shape(look.muzzle, muzzle, share=0.8)
    for mouth in ([(0, 0.4), (0, 0.56), (-0.2, 0.64)], [(0, 0.56), (0.2, 0.64)]):
        brush.stroke(view.pixels(np.array(mouth), end), look.line, 0.8)
    brush.shape(look.nose, view.ellipse(0, 0.26, end + 0.05, 0.24, 0.18), share=0.4)
    glint = view.ellipse(-0.06, 0.2, end + 0.05, 0.05, 0.03)
    brush.fill(glint, mix(look.nose, (255, 255, 255), 0.6))


def _eyes(brush: Brush, look: Look, centre: Point, radius: float, pupil: Point) -> None:
    """Iris, pupil and a glint of both; an eye narrows as the head turns it away from the viewer.

    `centre` is that of the right one.
    """
    view, y, small = look.view, centre[1], 0.22 * radius
    for side in (-1, 1):
        x, narrow = centre[0] * side, max(0.5, math.cos(view.yaw + 0.5 * side))
        brush.shape(look.iris, view.ellipse(x, y, 0.72, radius * narrow, radius), share=0.7)
        brush.fill(view.ellipse(x, y, 0.74, pupil[0] * narrow, pupil[1]), (16, 14, 18))
        glint = view.ellipse(x + 0.3 * radius, y - 0.35 * radius, 0.75, small, small)
        brush.fill(glint, (255, 255, 255))


def _markings(
    brush: Brush, rng: Generator, look: Look, view: View, area: np.ndarray, height: float
) -> None:
    """Stripes, spots or patches of the second colour inside an area.

    The outline of the area spans y = -height to height.
    """
    if look.pattern == "plain":
        return
    if look.pattern == "stripes":
        marks = _stripes(rng, view, height)
    elif look.pattern == "spots":
        spots = rng.uniform([-1, -height, 0.08, 0.08], [1, height, 0.2, 0.2], (9, 4))
        marks = [view.ellipse(x, y, 0.3, a, b) for x, y, a, b in spots.tolist()]
    elif look.pattern == "patch":
        x, y = between(rng, -0.7, 0.7), between(rng, -0.6, 0.2)
        marks = [view.ellipse(x, y * height, 0.5, between(rng, 0.4, 0.7), between(rng, 0.4, 0.7))]
    elif look.pattern == "blaze":
        w = between(rng, 0.1, 0.3)
        marks = [view.hull((0, -height, 0.5, w, 0.3), (0, 0.8 * height, 0.6, 2 * w, 0.4))]
    else:
        marks = [view.ellipse(0, between(rng, 0.3, 0.6) * height, 0.6, 0.8, 0.6)]
    brush.inlay(look.second, area, marks)


def _stripes(rng: Generator, view: View, height: float) -> list[np.ndarray]:
    """Tabby stripes: three on the forehead, the rest in from both sides."""
    thick = between(rng, 0.05, 0.09)
    ends = [
        ((x, -height, 0.3, thick, 0.1), (0.6 * x, -0.5 * height, 0.6, thick, 0.1))
        for x in (-0.35, 0, 0.35)
    ]
    for y in (-0.2, 0.15, 0.5):
        for side in (-1, 1):
            edge = (1.1 * side, (y - 0.1) * height, 0.0, 0.2, thick)
            ends.append((edge, (0.65 * side, y * height, 0.5, 0.1, thick)))
    return [view.hull(*pair) for pair in ends]
