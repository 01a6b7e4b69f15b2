"""Drawings -- endless synthetic cats and dogs, to train on before you download any photo.

A synthetic data set is worth something only if it takes vision to solve it.  So nearly everything
varies, with one distribution for both classes: the pose (position, size, turn and tilt of the
head; with a body or without), the width of the skull, the coat (colour, stripes, spots, patches),
the colours of eyes, nose and collar, the surroundings (plain, meadow, room, shapes, wallpaper),
the light (contrast, brightness, colour cast, a dark side), what stands in front (fence, leaves,
box), blur and grain.

Only shape tells a cat from a dog: that of ears, muzzle, nose, eyes, whiskers and tail (`parts.py`),
and these vary from breed to breed too.  Backdrops are on average as light and as warm as the
animals, so that the silhouette leaves little trace in the mean of a pixel.  Does it take vision,
then?  Logistic regression on 32 x 32 thumbnails, trained on 2,000 drawings with the best of eight
strengths of L2, gets 64.2 % of 1,000 others right.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

from minialex.data.checks import check_whole
from minialex.data.drawings.parts import Look, draw_animal
from minialex.data.drawings.tools import Colour, between, mix, pick, rgb, vary
from minialex.errors import DataError

_STREAM = 0xD0C5  # keeps these random numbers apart from those of other users of the same seed

BACKDROPS = rgb(
    "6e96b8 5478a0 ceac80 c4926c 647846 969654 b46846 92503c 604a3a 3c3a42 e2d6be c4883c "
    "8c6470 566452"
)


@dataclass(eq=False)
class Drawings:
    """A dataset: `length` drawings, from number `start` on, of the endless sequence of a seed.

    `drawings[i]` is a pair: an RGB PIL image of size x size pixels, and its label, 0 for a cat or
    1 for a dog.  Even numbers are cats and odd ones dogs, so that the classes are balanced.  A
    drawing depends on the seed, its number and the size alone: it has the same bits in any order
    and from any thread.  Disjoint ranges of numbers of one seed make a training and a test set;
    negative indices count from the end, as in a list.

    Raises DataError where length < 1, seed < 0, start < 0 or size < 16; IndexError beyond the end.
    """

    length: int
    seed: int = 0
    size: int = 256
    start: int = 0

    def __post_init__(self) -> None:
        self.classes = ["cat", "dog"]
        for name, least in {"length": 1, "seed": 0, "size": 16, "start": 0}.items():
            check_whole(f"drawings: {name}", getattr(self, name), least, DataError)
            setattr(self, name, int(getattr(self, name)))

    @property
    def labels(self) -> np.ndarray:
        """The label of each drawing, int64 (length,)."""
        return (self.start + np.arange(self.length)) % 2

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        number = self.start + range(self.length)[index]
        label = number % 2
        return _draw(np.random.default_rng([self.seed, number, _STREAM]), self.size, label), label

    def __iter__(self) -> Iterator[tuple[Image.Image, int]]:
        return map(self.__getitem__, range(self.length))


def _draw(rng: Generator, size: int, label: int) -> Image.Image:
    """Paint at twice the size: surroundings, animal, what hides it; then take the photograph."""
    side = 2 * size
    (animal_rng,) = rng.spawn(1)  # the scene is the same whichever animal sits in it
    canvas = _background(rng, side)
    look = Look(rng, side)
    draw_animal(canvas, animal_rng, look, label)
    if rng.random() < 0.3:
        pick(rng, [_bars, _leaves, _box])(ImageDraw.Draw(canvas), rng, side)
    return _photograph(canvas, rng)


def _backdrop(rng: Generator) -> Colour:
    """A colour of the surroundings."""
    return vary(rng, pick(rng, BACKDROPS), 20)


def _background(rng: Generator, side: int) -> Image.Image:
    """A soft wash of colours with surroundings painted on it."""
    cells, spread = int(rng.integers(2, 6)), between(rng, 8, 40)
    wash = np.clip(_backdrop(rng) + rng.uniform(-spread, spread, (cells, cells, 3)), 0, 255)
    coarse = Image.fromarray(wash.astype(np.uint8))
    small = coarse.resize((side // 4, side // 4), Image.Resampling.BICUBIC)
    canvas = small.resize((side, side), Image.Resampling.NEAREST)  # bicubic all the way is slow
    if paint := pick(rng, [None, _meadow, _room, _confetti, _wallpaper]):
        paint(ImageDraw.Draw(canvas), rng, side)
    return canvas


def _meadow(draw: ImageDraw.ImageDraw, rng: Generator, side: int) -> None:
    sky = _backdrop(rng)
    sun, r = rng.uniform(0, side, 2).tolist(), between(rng, 0.05, 0.14) * side
    disc = (sun[0] - r, sun[1] / 2 - r, sun[0] + r, sun[1] / 2 + r)
    draw.ellipse(disc, fill=mix(sky, (255, 240, 170), 0.7))
    for _ in range(3):
        x, y = between(rng, -0.1, 1.0) * side, between(rng, 0.0, 0.4) * side
        draw.ellipse((x, y, x + 0.25 * side, y + 0.08 * side), fill=mix(sky, (255, 255, 255), 0.6))
    for depth in range(2):
        x, y = between(rng, 0, side), between(rng, 0.5 + 0.2 * depth, 0.75 + 0.2 * depth) * side
        draw.ellipse((x - side, y, x + side, y + 1.2 * side), fill=_backdrop(rng))
    for _ in range(int(rng.integers(0, 4))):
        x, y = between(rng, 0, side), between(rng, 0.3, 0.6) * side
        r = between(rng, 0.06, 0.15) * side
        draw.rectangle((x - 0.2 * r, y, x + 0.2 * r, y + 3 * r), fill=(92, 66, 48))
        draw.ellipse((x - r, y - r, x + r, y + r), fill=_backdrop(rng))


def _room(draw: ImageDraw.ImageDraw, rng: Generator, side: int) -> None:
    floor = between(rng, 0.55, 0.9) * side
    draw.rectangle((0, floor, side, side), fill=_backdrop(rng))
    draw.rectangle((0, floor - 0.03 * side, side, floor), fill=_backdrop(rng))
    for _ in range(int(rng.integers(1, 4))):
        x, y = between(rng, -0.1, 0.9) * side, between(rng, -0.1, 0.5) * side
        w, h = between(rng, 0.15, 0.4) * side, between(rng, 0.15, 0.4) * side
        inside, frame = _backdrop(rng), _backdrop(rng)
        draw.rectangle((x, y, x + w, y + h), fill=inside, outline=frame, width=side // 50)
        if rng.random() < 0.5:
            draw.line((x + w / 2, y, x + w / 2, y + h), fill=(240, 236, 226), width=side // 80)
            draw.line((x, y + h / 2, x + w, y + h / 2), fill=(240, 236, 226), width=side // 80)


def _confetti(draw: ImageDraw.ImageDraw, rng: Generator, side: int) -> None:
    for _ in range(int(rng.integers(4, 12))):
        x, y, r = between(rng, 0, side), between(rng, 0, side), between(rng, 0.03, 0.16) * side
        if (corners := int(rng.integers(3, 9))) < 7:
            turn = int(rng.integers(360))
            draw.regular_polygon((x, y, r), corners, rotation=turn, fill=_backdrop(rng))
        else:
            draw.ellipse((x - r, y - r, x + r, y + r), fill=_backdrop(rng))


def _wallpaper(draw: ImageDraw.ImageDraw, rng: Generator, side: int) -> None:
    step = int(between(rng, 0.07, 0.2) * side)
    colour, slant = _backdrop(rng), between(rng, -1, 1) * side
    if rng.random() < 0.5:
        for x in range(-side, 2 * side, step):
            width = max(1, int(between(rng, 0.2, 0.4) * step))
            draw.line((x, 0, x + slant, side), fill=colour, width=width)
    else:
        r = between(rng, 0.1, 0.35) * step
        for row, y in enumerate(range(0, side + step, step)):
            for x in range(row % 2 * step // 2, side + step, step):
                draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)


def _bars(draw: ImageDraw.ImageDraw, rng: Generator, side: int) -> None:
    """A fence in front."""
    colour, width = _backdrop(rng), int(between(rng, 0.02, 0.05) * side)
    slant, upright = between(rng, -0.3, 0.3) * side, rng.random() < 0.6
    offset, step = between(rng, 0, 0.3) * side, between(rng, 0.25, 0.4) * side
    for at in (offset + k * step for k in range(4)):
        ends = (at, 0, at + slant, side) if upright else (0, at, side, at + slant)
        draw.line(ends, fill=colour, width=width)


def _leaves(draw: ImageDraw.ImageDraw, rng: Generator, side: int) -> None:
    """Leaves that hang in from the edges."""
    colour = _backdrop(rng)
    for _ in range(int(rng.integers(5, 12))):
        angle, r = between(rng, 0, 2 * math.pi), between(rng, 0.06, 0.12) * side
        x, y = side * (0.5 + 0.52 * math.cos(angle)), side * (0.5 + 0.52 * math.sin(angle))
        turn = between(rng, 0, 2 * math.pi)
        c, s = r * math.cos(turn), r * math.sin(turn)
        leaf = [(x + c, y + s), (x - 0.4 * s, y + 0.4 * c)]
        leaf += [(x - c, y - s), (x + 0.4 * s, y - 0.4 * c)]
        draw.polygon(leaf, fill=mix(colour, (0, 0, 0), between(rng, 0, 0.4)))


def _box(draw: ImageDraw.ImageDraw, rng: Generator, side: int) -> None:
    """A box that hides a strip along one edge."""
    depth = between(rng, 0.08, 0.22) * side
    below, left = (0, side - depth, side, side), (0, 0, depth, side)
    corners = (below, left, (side - depth, 0, side, side))[int(rng.integers(3))]
    draw.rectangle(corners, fill=_backdrop(rng), outline=_backdrop(rng), width=max(1, side // 60))


def _photograph(canvas: Image.Image, rng: Generator) -> Image.Image:
    """Halve the canvas, light it, blur it, add grain."""
    image = canvas.reduce(2)
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.25:
        image = image.filter(ImageFilter.BoxBlur(between(rng, 0.4, 1.2)))
    return _expose(image, rng)


def _expose(image: Image.Image, rng: Generator) -> Image.Image:
    """Contrast, brightness, colour cast, light from one side and grain, in one pass over pixels."""
    (width, height), contrast = image.size, between(rng, 0.85, 1.2)
    brightness, cast = between(rng, 116, 160), rng.uniform(0.94, 1.06, 3)
    # Rows of 3 * width numbers, because NumPy is slow where the innermost axis is only 3 long.
    across = np.repeat(np.linspace(*_fall(rng), width), 3)  # (3 * width,)
    down = np.linspace(*_fall(rng), height, dtype=np.float32)[:, None]  # (height, 1)
    gain = (across * np.tile(contrast * cast, width)).astype(np.float32)
    shift = (across * np.tile((brightness - 128 * contrast) * cast, width)).astype(np.float32)
    pixels = np.asarray(image).reshape(height, 3 * width)
    # One random word of 64 bits makes eight bytes of noise, uniform on -128..127.
    words = rng.integers(-(2**63), 2**63, size=(height, 3 * width // 8 + 1))
    noise = words.view(np.int8)[:, : 3 * width]
    grain = np.float32(between(rng, 0, 3) ** 2 / 74)  # that noise has a standard deviation of 74
    photo = np.empty_like(pixels)
    for top in range(0, height, 16):  # strips of rows stay in the cache
        rows = slice(top, top + 16)
        strip = (pixels[rows] * gain + shift) * down[rows] + noise[rows] * grain
        photo[rows] = strip.clip(0, 255, out=strip)
    return Image.fromarray(photo.reshape(height, width, 3))


def _fall(rng: Generator) -> tuple[float, float]:
    """Brightness at the two ends of an axis: one of them is darker, by up to 30 %."""
    fall = between(rng, -0.3, 0.3)
    return 1 - max(0.0, fall), 1 + min(0.0, fall)
