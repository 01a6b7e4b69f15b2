"""Tools for drawing: colours, smooth outlines, a head turned in space, a brush.

Nearly every shape of a drawing is one of two kinds: the convex hull of a few ellipses (skull,
muzzle, body) or a polygon with its corners cut (ears, tail).  All outlines are arrays (k, 2) of
points; the dark line around a shape is a grown copy of its outline, filled before it.

Animals live in *head coordinates*: x to the right, y down, z towards the viewer, the skull about
one unit in radius.  So a head is described once, and drawn at any size, position and turn.
"""

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageChops, ImageDraw

Colour = tuple[int, ...]  # red, green, blue
Point = tuple[float, float]
T = TypeVar("T")

_ANGLES = np.linspace(0, 2 * math.pi, 32, endpoint=False)
_NORMALS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)  # (32, 2)
_COMPLEX = np.array([1, 1j])


def rgb(text: str) -> list[Colour]:
    """Colours of their numbers in hexadecimal, "ff8000 f2f2f2": red, green, blue, as in HTML."""
    return [tuple(bytes.fromhex(number)) for number in text.split()]


def between(rng: Generator, low: float, high: float) -> float:
    """A number drawn evenly from low to high."""
    return low + (high - low) * rng.random()


def pick(rng: Generator, choices: Sequence[T]) -> T:
    """One of the choices, all equally likely."""
    return choices[int(rng.random() * len(choices))]


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """The colour `share` of the way from a to b."""
    return tuple(round(p + (q - p) * share) for p, q in zip(a, b, strict=True))


def vary(rng: Generator, colour: Colour, amount: float) -> Colour:
    """A colour nearby: each channel moves by up to `amount`."""
    return tuple(min(255, max(0, round(c + between(rng, -amount, amount)))) for c in colour)


def smooth(points: np.ndarray, rounds: int = 3) -> np.ndarray:
    """Cut the corners of a closed polygon (Chaikin, 1974): k points become k * 2**rounds."""
    for _ in range(rounds):
        after = np.roll(points, -1, axis=0)
        cut = [0.75 * points + 0.25 * after, 0.25 * points + 0.75 * after]
        points = np.stack(cut, axis=1).reshape(-1, 2)
    return points


def grow(points: np.ndarray, width: float) -> np.ndarray:
    """The closed polygon (k, 2) with each edge moved outwards by `width`; sharp corners are cut."""
    z = points @ _COMPLEX  # (k,): as complex numbers, where a quarter turn is a factor of 1j
    edge = np.concatenate([z[1:], z[:1]]) - z
    area = (z.conj() * edge).imag.sum()  # twice the area; the sign says which way round we go
    outwards = math.copysign(width, area)
    normal = edge / np.abs(edge)
    corner = normal + np.concatenate([normal[-1:], normal[:-1]])  # of length 2 cos(half the turn)
    z -= 2j * outwards * corner / np.maximum((corner * corner.conj()).real, 0.5)
    return z.view(np.float64).reshape(-1, 2)


class View:
    """Projects head coordinates on the canvas: a turn by yaw and pitch, then roll, scale, shift."""

    def __init__(self, centre: Point, scale: float, yaw: float, pitch: float, roll: float) -> None:
        self.scale, self.yaw = scale, yaw
        cos, sin = math.cos(roll), math.sin(roll)
        self.flat = scale * np.array([[cos, sin], [-sin, cos]])  # (x, y) on the page -> pixels
        self.centre = np.array(centre)
        # (x, y, z) -> (x, y) on the page; orthographic, so z is dropped
        x = [math.cos(yaw), -math.sin(yaw) * math.sin(pitch)]
        z = [math.sin(yaw), math.cos(yaw) * math.sin(pitch)]
        self.turn = np.array([x, [0.0, math.cos(pitch)], z])

    def flat_pixels(self, points: np.ndarray) -> np.ndarray:
        """Points (k, 2) on the page as pixels."""
        return points @ self.flat + self.centre

    def pixels(self, points: np.ndarray, z: float = 0.0) -> np.ndarray:
        """Points (k, 2) of the head, all at depth z, as pixels."""
        return self.flat_pixels(points @ self.turn[:2] + z * self.turn[2])

    def ellipse(self, x: float, y: float, z: float, a: float, b: float) -> np.ndarray:
        """The ellipse with centre (x, y, z) and radii (a, b), which do not turn with the head."""
        return self.flat_pixels(np.array((x, y, z)) @ self.turn + _NORMALS * (a, b))

    def hull(self, *ellipses: tuple[float, float, float, float, float]) -> np.ndarray:
        """The convex hull of ellipses (x, y, z, a, b).

        The hull's point with outward normal u lies on the ellipse whose own point with that normal
        reaches furthest along u: at centre + (a² u_x, b² u_y) / r, with
        r = sqrt(a² u_x² + b² u_y²).
        """
        shapes = np.array(ellipses)  # (k, 5)
        centre, squares = shapes[:, :3] @ self.turn, shapes[:, 3:] ** 2  # (k, 2) and (k, 2)
        r = np.sqrt(squares @ (_NORMALS**2).T)  # (k, 32)
        furthest = (centre @ _NORMALS.T + r).argmax(axis=0)  # (32,)
        r = r[furthest, np.arange(len(_ANGLES))]
        return self.flat_pixels(centre[furthest] + squares[furthest] * _NORMALS / r[:, None])


class Brush:
    """Draws filled and outlined shapes on a canvas."""

    def __init__(self, canvas: Image.Image, line: Colour, line_width: int) -> None:
        self.canvas, self.draw = canvas, ImageDraw.Draw(canvas)
        self.line, self.line_width = line, line_width

    def stroke(self, points: np.ndarray, colour: Colour, share: float = 1.0) -> None:
        """A line through the points (k, 2); its width is `share` of the outline's."""
        width = max(1, round(share * self.line_width))
        self.draw.line(points.ravel().tolist(), fill=colour, width=width)

    def fill(self, points: np.ndarray, colour: Colour) -> None:
        """Fill the polygon (k, 2)."""
        self.draw.polygon(points.ravel().tolist(), fill=colour)

    def shape(self, colour: Colour, *outlines: np.ndarray, share: float = 1.0) -> None:
        """Fill the union of the outlines and draw a line around it, but none where they overlap."""
        for points in outlines:
            self.fill(grow(points, share * self.line_width), self.line)
        for points in outlines:
            self.fill(points, colour)

    def inlay(self, colour: Colour, outline: np.ndarray, marks: Sequence[np.ndarray]) -> None:
        """Fill the marks, but only inside the outline."""
        # The masks are as large as the outline's box, not the canvas: that is faster.
        low = np.clip(outline.min(axis=0), 0, self.canvas.size).astype(int)
        high = np.clip(outline.max(axis=0) + 1, low + 1, self.canvas.size).astype(int)
        (left, top), (right, bottom) = low.tolist(), high.tolist()
        inside, marked = (Image.new("1", (right - left, bottom - top)) for _ in range(2))
        ImageDraw.Draw(inside).polygon((outline - low).ravel().tolist(), fill=1)
        draw = ImageDraw.Draw(marked)
        for points in marks:
            draw.polygon((points - low).ravel().tolist(), fill=1)
        both = ImageChops.logical_and(inside, marked)
        self.canvas.paste(colour, (left, top, right, bottom), both)
