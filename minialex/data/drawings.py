"""Drawings -- endless synthetic cats and dogs, to train on before you download any photo.

A synthetic data set is worth something only if it takes vision to solve it.  A network takes any
shortcut: if dogs were brown more often than cats, it would learn brown.  So whatever a cat and a
dog have in common -- pose, coat, colours, body, backdrop, light -- is drawn from the random
generator before the class is looked at, and has one distribution for both.  Only these differ, and
each lies anywhere between two extremes:

    cat   pointed ears behind the skull, large eyes with slits, a short muzzle with a small nose,
          whiskers, a long thin tail
    dog   ears that hang before the skull, small round eyes, a long muzzle with a large nose, a
          short tail that ends in a point

Does it take vision, then?  Logistic regression on 32 x 32 thumbnails, trained on 2,000 drawings
with the best of eight strengths of L2, gets 64.0 % of 1,000 others right.

Points are complex numbers x + iy, so that one multiplication turns and scales an outline: x to the
right, y down, the radius of a skull as the unit.  All is flat, and yet a head can look to a side,
since what is nearer to us moves further: eyes, muzzle and nose are shifted by depth times gaze.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from minialex.errors import DataError, check_whole


def rgb(text: str) -> np.ndarray:
    """Colours (k, 3) of their numbers in hexadecimal, "ff8000 f2f2f2": red, green, blue."""
    return np.array([tuple(bytes.fromhex(number)) for number in text.split()], float)


def mix(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    """What lies the `share` of the way from a to b: a point, a colour, an outline."""
    return a + (b - a) * share


def mirror(points: np.ndarray) -> np.ndarray:
    """The outlines (..., k) on the other side of the animal, the same way round."""
    return -points[..., ::-1].conj()


def outlines(*texts: str, whole: bool = False) -> np.ndarray:
    """Smooth outlines, complex (n, k), of n texts such as "1-7j 4-14j": points in tenths of a unit.

    They run clockwise.  Of those that are `whole` the text has the right half, from top to bottom.
    Corners are cut twice (Chaikin, 1974).
    """
    points = np.array([[complex(point) for point in text.split()] for text in texts]) / 10
    if whole:
        points = np.concatenate([points, mirror(points)], axis=1)
    for _ in range(2):
        after = np.roll(points, -1, axis=1)
        cut = np.stack([mix(points, after, 0.25), mix(points, after, 0.75)], axis=2)
        points = cut.reshape(len(texts), -1)
    return points


# On average, scenery is as light and as warm as coats: a silhouette leaves little trace in the mean
# of a pixel.
COATS = rgb("28262a 525056 807e84 b0b0b4 f0ece4 768294 543626 825434 be6e32 de8e40 d0a876 ecd6b4")
SCENERY = rgb("6e96b8 5478a0 ceac80 c4926c 647846 969654 b46846 92503c 604a3a 3c3a42 e2d6be c4883c")
JEWELS = rgb("966a38 ce9642 c8b25a 96b064 6e9cb0 7882c8 9678aa")  # of eyes and collars
BLACK, WHITE, PINK, BROWN = rgb("181214 ffffff f08c8c 6e3e3a")

# The two extremes of ear, tail, muzzle and nose; last, of how far the muzzle juts out, and of an
# eye's x, y, radius and pupil.
CAT = (
    outlines("1-7j 4-13j 6-18j 7-18j 8.5-11j 9.5-3j", "2-7j 6-12j 9.5-15j 10.5-15j 10.5-9j 10-2j"),
    outlines("7+23j 16+21j 13+7j 16+2j 20+21j 8+27j", "7+22j 18+20j 14+5j 22+2j 20+24j 8+27j"),
    outlines("1+3j 2+2.4j 4.2+3.4j 4+5.6j .5+5.6j", "1+3j 3+2j 5+3.4j 4.6+6j .5+5.6j", whole=True),
    outlines("1+1.7j 1.8+2j .5+3.6j", "1.4+2j 1.8+2.4j .5+3.6j", whole=True),
    np.array([(0.8, 0.4, -0.12, 0.22, 0.06), (0.8, 0.46, -0.12, 0.28, 0.12)]),
)
DOG = (
    outlines("4-8j 9-9j 12-3j 14+8j 11+12j 8+7j 7-2j", "2-8j 6-13j 11-11j 14-4j 11-1j 8-4j 5-6j"),
    outlines("7+20j 12+18j 15+9j 16+9j 17+18j 8+26j", "7+20j 14+17j 20+12j 21+13j 18+20j 8+26j"),
    outlines("2-1j 4+2j 4+6j 1.5+7.4j", "2-.5j 4.6+2j 4.6+6.6j 2+8j", whole=True),
    outlines("1.4+.6j 2.8+1j 2.6+3j 1+4j", "2+1j 3.4+1.6j 2.8+3.6j 1+4.2j", whole=True),
    np.array([(1.1, 0.36, -0.22, 0.14, 0.11), (1.5, 0.42, -0.2, 0.19, 0.15)]),
)
SKULL = outlines("4-9j 8.5-6.5j 9.5+0j 7.5+7j 2.5+8.6j", "4-8j 10-6j 12+2j 9+7j 2.5+8j", whole=True)
BODY = outlines("4+4j 5.5+11j 8+20j 10+30j 8+45j", "5+4j 7+11j 11+20j 13+30j 9+45j", whole=True)
(LEG,) = outlines("1.5+16j 5.5+16j 6+19j 6+36j 1+36j 1+19j")
COLLAR, MOUTH = outlines("4+8j 7+9j 6+11j 1+12j", ".4+3j .4+5j 2.4+6j .4+5.4j", whole=True)
WHISKERS = outlines("3+4j 15+1j 3+4.4j", "3+4j 15+4j 3+4.4j", "3+4j 15+7j 3+4.4j")
CIRCLE = np.exp(2j * np.pi * np.arange(16) / 16)


def pick(rng: np.random.Generator, colours: np.ndarray) -> np.ndarray:
    """A colour near one of the `colours` (k, 3)."""
    return colours[rng.integers(len(colours))] + rng.uniform(-16, 16, 3)


def ink(colour: np.ndarray) -> tuple[int, ...]:
    """A colour as Pillow takes it."""
    return tuple(colour.clip(0, 255).astype(int).tolist())


def ellipse(x: float, y: float, a: float, b: float) -> np.ndarray:
    """The outline of an ellipse around x + iy with radii a and b."""
    return x + 1j * y + a * CIRCLE.real + 1j * b * CIRCLE.imag


def markings(rng: np.random.Generator) -> np.ndarray:
    """What the second colour of a coat covers: ellipses that are stripes, spots, a patch ..."""
    w, x = rng.uniform((0.1, -0.7), (0.25, 0.7))
    stripes = [(flank, y, 0.45, 0.4 * w) for flank in (-1.1, 1.1) for y in np.arange(-0.4, 3, 0.5)]
    forehead = [(x, -0.8, 0.4 * w, 0.45) for x in (-0.35, 0, 0.35)]
    spots = rng.uniform((-1.1, -1, 0.1, 0.1), (1.1, 3, 0.2, 0.2), (14, 4))
    patch = [(x, -0.2, 3 * w, 0.5), (-x, 1.8, 0.6, 3 * w)]
    blaze, mask = [(0, -0.3, w, 1.2), (0, 1.4, 2 * w, 0.8)], [(0, 0.5, 0.5 + w, 0.7)]
    return np.array(([], [*stripes, *forehead], spots, patch, blaze, mask)[rng.integers(6)])


class Animal:
    """A cat or a dog: nobody knows yet which, when its random numbers are drawn."""

    def __init__(self, rng: np.random.Generator, canvas: Image.Image) -> None:
        self.canvas, self.pen, side = canvas, ImageDraw.Draw(canvas), canvas.width
        self.sits, self.flips, self.pants = rng.random(3) < (0.6, 0.5, 0.3)
        scale, y = (rng.uniform(0.21, 0.28), 0.42) if self.sits else (rng.uniform(0.27, 0.35), 0.55)
        shift = rng.uniform((-1, -0.6), (1, 0.6)) * (0.47 - 1.1 * scale)
        self.place = side * complex(0.5 + shift[0], y + shift[1])
        self.head, self.body = side * scale * np.exp([1j, 0.2j] * rng.uniform(-0.3, 0.3, 1))
        self.gaze = complex(*rng.uniform((-0.4, 0), (0.4, 0.25)))
        self.breed = rng.random(7)  # how far each part is from one extreme to the other
        self.coat, self.second = pick(rng, COATS), pick(rng, COATS)
        self.ear, self.muzzle = rng.choice([self.coat, self.second, mix(self.coat, WHITE, 0.6)], 2)
        self.iris, self.collar = pick(rng, JEWELS), (pick(rng, JEWELS), self.coat)[rng.integers(2)]
        self.nose, self.line = mix(BLACK, BROWN, rng.random()), mix(self.coat, BLACK, 0.85)
        self.width, self.marks = rng.uniform(0.05, 0.08), markings(rng)

    def pixels(self, points: np.ndarray) -> list[float]:
        """An outline as x, y, x, y ... in pixels."""
        return (points * self.turn + self.place).view(float).tolist()

    def fill(self, colour: np.ndarray, *parts: np.ndarray) -> None:
        """Fill outlines."""
        for points in parts:
            self.pen.polygon(self.pixels(points), ink(colour))

    def shape(self, colour: np.ndarray, *parts: np.ndarray) -> None:
        """Fill the union of outlines, with a line around it: that is there first, and larger."""
        for points in parts:
            edge = np.append(points[1:], points[0]) - points
            self.fill(self.line, points - 1j * self.width * edge / abs(edge))
        self.fill(colour, *parts)

    def fur(self, points: np.ndarray) -> None:
        """A shape of the coat, and on it those parts of the markings that are inside."""
        self.shape(self.coat, points)
        inside, marked = (Image.new("1", self.canvas.size) for _ in range(2))
        ImageDraw.Draw(inside).polygon(self.pixels(points), 1)
        pen = ImageDraw.Draw(marked)
        for mark in self.marks:
            pen.polygon(self.pixels(ellipse(*mark) + 0.3 * self.gaze), 1)
        box = inside.getbbox()
        mask = ImageChops.logical_and(inside.crop(box), marked.crop(box))
        self.canvas.paste(ink(self.second), box, mask)

    def draw(self, label: int) -> None:
        """Draw a cat (label 0) or a dog (label 1), from back to front."""
        pairs = zip((SKULL, BODY, *(CAT, DOG)[label]), self.breed, strict=True)
        skull, body, ear, tail, *face = (mix(low, high, share) for (low, high), share in pairs)
        if self.sits:
            self.turn = self.body
            self.shape(self.coat, mirror(tail) if self.flips else tail)
            self.fur(body)
            self.shape(self.coat, LEG, mirror(LEG))
            self.shape(self.collar, COLLAR)
        self.turn = self.head
        if label == 0:
            self.shape(self.ear, ear, mirror(ear))
            inner = (mix(one.mean(), one, 0.6) for one in (ear, mirror(ear)))
            self.fill(mix(self.ear, PINK, 0.5), *inner)
        self.fur(skull)
        if label == 1:
            self.shape(self.ear, ear, mirror(ear))
        self.face(label, *face)

    def face(self, label: int, muzzle: np.ndarray, nose: np.ndarray, numbers: np.ndarray) -> None:
        """Eyes, muzzle, nose and mouth: what is near, and moves with the gaze."""
        depth, x, y, r, pupil = numbers
        eyes = 0.7 * self.gaze + np.array([[x + 1j * y], [-x + 1j * y]])
        self.shape(self.iris, *(eyes + r * CIRCLE))
        self.fill(BLACK, *(eyes + ellipse(0, 0, pupil, 0.85 * r)))
        self.fill(WHITE, *(eyes + r * ellipse(0.3, -0.35, 0.25, 0.25)))
        self.shape(self.muzzle, *(muzzle + self.gaze * np.array([0.7, depth])[:, None]))
        end = depth * self.gaze
        if self.pants:
            self.shape(PINK, end + ellipse(0.03, 0.62, 0.1, 0.15))
        self.fill(self.line, end + MOUTH)
        self.fill(self.nose, end + nose)
        if label == 0:
            colour = WHITE if self.muzzle.mean() < 160 else self.line
            self.fill(colour, *(end + WHISKERS), *(end + mirror(WHISKERS)))


def wash(colours: np.ndarray, side: int) -> Image.Image:
    """A picture that changes softly from one of the colours (n, n, 3) to the next."""
    small = Image.fromarray(colours.clip(0, 255).astype(np.uint8)).resize((side // 4, side // 4))
    return small.resize((side, side), Image.Resampling.NEAREST)  # bicubic all the way is slow


def scene(rng: np.random.Generator, side: int) -> Image.Image:
    """A wash of colours, and on it hills, a room, confetti, or nothing."""
    canvas = wash(pick(rng, SCENERY) + rng.uniform(-40, 40, (4, 4, 3)) * rng.random(), side)
    pen, x = ImageDraw.Draw(canvas), rng.random()
    hills = [(rng.random(), 0.2, 0.1, 0.1), (x, 1.5, 1.2, 0.9), (1 - x, 1.6, 1, 0.8)]
    room = [*rng.uniform((0, 0, 0.05, 0.05), (1, 0.6, 0.2, 0.2), (3, 4)), (0.5, 1, 1, 0.3 * x)]
    confetti = rng.uniform((0, 0, 0.03), (1, 1, 0.16), (10, 3))[:, [0, 1, 2, 2]]
    kind = rng.integers(4)
    paint = pen.rectangle if kind == 1 else pen.ellipse
    for x, y, a, b in np.array((hills, room, confetti, [])[kind]) * side:
        paint((x - a, y - b, x + a, y + b), ink(pick(rng, SCENERY)))
    return canvas


def grass(canvas: Image.Image, rng: np.random.Generator) -> None:
    """Blades of grass before the animal, most often none."""
    pen, side, colour = ImageDraw.Draw(canvas), canvas.width, pick(rng, SCENERY)
    count = max(0, int(rng.integers(-20, 16)))
    for x, lean, y in rng.uniform((-0.1, -0.3, 0.3), (1.1, 0.3, 0.9), (count, 3)) * side:
        blade = (x - 0.03 * side, side, x + 0.03 * side, side, x + lean, y)
        pen.polygon(blade, ink(mix(colour, BLACK, 0.4 * rng.random())))


def photograph(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Coloured light from a side, contrast, brightness, grain."""
    light = wash(128 + rng.uniform(-40, 40, (2, 2, 1)) + rng.uniform(-12, 12, 3), image.width)
    scale, middle = rng.uniform((0.75, 105), (1.1, 155))
    lit = ImageChops.add(image, light, scale, round(middle - 256 / scale))
    grain = Image.frombytes("L", image.size, rng.bytes(image.width * image.height))
    return Image.blend(lit, grain.convert("RGB"), 0.1 * rng.random() ** 2)


def draw(rng: np.random.Generator, size: int, label: int) -> Image.Image:
    """Paint at twice the size: scene, animal, what hides it; then take the photograph."""
    canvas = scene(rng, 2 * size)
    Animal(rng, canvas).draw(label)
    grass(canvas, rng)
    return photograph(canvas.reduce(2), rng)


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
    edition = 2  # counted up when the drawings change: no run goes on with others

    def __post_init__(self) -> None:
        self.classes = ["cat", "dog"]
        for name, least in {"length": 1, "seed": 0, "size": 16, "start": 0}.items():
            check_whole(f"drawings: {name}", getattr(self, name), least, DataError)
            setattr(self, name, int(getattr(self, name)))
        self.labels = (self.start + np.arange(self.length)) % 2  # int64 (length,)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        number = self.start + range(self.length)[index]
        # 0xD0C5 keeps these apart from the random numbers of others of the same seed.
        rng = np.random.default_rng([self.seed, number, 0xD0C5])
        return draw(rng, self.size, number % 2), number % 2

    def __iter__(self) -> Iterator[tuple[Image.Image, int]]:
        return map(self.__getitem__, range(self.length))
