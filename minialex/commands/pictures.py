"""What a trained network looks for, as a page for a browser.

    activations   what each convolution makes of the first image
    attention     the answers, the pixels that decide, and where the network
                  sees its answer
    neighbours    the training images that are most alike to the network
    filters       the first layer's filters, like figure 3 of the AlexNet paper;
                  and what training changed in them, where that is known

minialex/use/explain.py says how to read them.  Do not expect clean edges and
colour blobs of the filters at once: a short training leaves much of the noise
that the weights began as.

example:
  %(prog)s runs/first
  %(prog)s runs/first my_cat.jpg --out my_cat
"""

import argparse
import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from minialex.commands.predict import checkpoint_parser, screen
from minialex.data import DataLoader, Source
from minialex.data.folder import at_most
from minialex.data.pixels import decoded_for
from minialex.errors import ConfigError, DataError
from minialex.gpu.devices import choose_device
from minialex.layers import Conv2d
from minialex.models import AlexNet
from minialex.page import pictures, write_page
from minialex.train.photos import run_source
from minialex.use.explain import Trace, grad_cam, last_hidden, nearest, saliency
from minialex.use.pictures import different, filter_pictures, heat, overlay
from minialex.use.predict import Predictor, find_photos, run_settings
from minialex.xp import Array, to_cpu, to_device

# What the network sees of an image, as an image and as its input (H, W, C); its answer, the
# probability of each class (C,); and the true class, where that is known.  The whole image is not
# kept: it may be large.
Row = tuple[str, list[tuple[Image.Image, str]]]  # a heading; pictures, each with the text below it
Images = list[tuple[Image.Image, np.ndarray, np.ndarray, str | None]]
MOST = 8  # images in a picture


def parser() -> argparse.ArgumentParser:
    """The options of this command."""
    parser = checkpoint_parser(__doc__)
    parser.add_argument("photos", type=Path, nargs="*",
        help="photos or folders of photos (default: test images)")  # fmt: skip
    parser.add_argument("--data", help="drawings, pets or a folder, where neighbours are searched"
        " (default: the data of the run)")  # fmt: skip
    parser.add_argument("--limit", type=int, help="the most training images to search")
    parser.add_argument("--out", type=Path, default=Path("pictures"),
        help="folder of the page, index.html (default pictures)")  # fmt: skip
    return parser


def find_source(options: argparse.Namespace, checkpoint: Path) -> Source:
    """The images that the network was trained on.  Raises ConfigError where nobody knows them."""
    source = run_source(checkpoint.parent, run_settings(checkpoint), options.data)
    return dataclasses.replace(source, train=at_most(options.limit, source.train, seed=0))


def seen(predictor: Predictor, image: Image.Image, truth: str | None) -> Any:
    """An image of `Images`."""
    x, p = predictor.transform(image, None), predictor.probabilities(image)
    return predictor.crop(image), x, p, truth


def some_photos(paths: list[Path], predictor: Predictor) -> Images:
    """The photos named, or MOST of them, evenly spaced."""
    found = find_photos(paths, predictor.classes)
    if len(found) > MOST:
        print(f"{MOST} of {len(found):,} photos, evenly spaced")
        found = [found[i] for i in np.linspace(0, len(found) - 1, MOST).astype(int)]
    return [seen(predictor, predictor.open(path), truth) for path, truth in found]


def some_test_images(source: Source, predictor: Predictor) -> Images:
    """Six of them, always the same."""
    test = decoded_for(source.test, predictor.transform)
    chosen = np.random.default_rng(0).permutation(len(test))[:6]
    pairs = (test[i] for i in chosen.tolist())
    return [seen(predictor, image, source.classes[label]) for image, label in pairs]


def stacked(predictor: Predictor, images: Images) -> Array:
    """The input of all images, (N, H, W, C), on the device."""
    return predictor.stack([x for _, x, *_ in images])


def activations(predictor: Predictor, images: Images) -> Iterator[Row]:
    """The first image, and of each convolution's maps ten, each scaled to its own maximum."""
    photo = images[0][0]
    layers = Trace(predictor.model, stacked(predictor, images[:1])).convolution_maps()
    if not layers:
        raise ConfigError("the network has no convolution")
    yield f"the image: {photo.height} x {photo.width} pixels", [(photo, "")]
    for number, maps in enumerate(layers, start=1):
        H, W, C = maps.shape
        chosen = different(maps, 10)
        shown = f"{len(chosen)} of {C} channels, strong and unlike each other"
        heading = f"convolution {number}: {H} x {W} positions; {shown}"
        yield heading, [(heat(maps[..., c]), "") for c in chosen]


def verdict(answer: str, truth: str | None) -> str:
    """Whether an answer is right, where that is known."""
    return "" if truth is None else "  right" if answer == truth else f"  is: {truth}"


def attention(predictor: Predictor, images: Images) -> Iterator[Row]:
    """Each image with the network's answer, the pixels that matter to it, and where it sees it."""
    x, best = stacked(predictor, images), np.array([p.argmax() for _, _, p, _ in images])
    answers = [
        (photo, f"{predictor.classes[c]}\n{p[c]:.1%}{verdict(predictor.classes[c], truth)}")
        for c, (photo, _, p, truth) in zip(best, images, strict=True)]  # fmt: skip
    yield "what the network sees, and its answer", answers
    heading = "saliency: the brighter a pixel, the more its change would move the score"
    yield f"{heading} of this answer", [(heat(m), "") for m in saliency(predictor.model, x, best)]
    maps = zip(answers, grad_cam(predictor.model, x, best), strict=True)
    heading = "Grad-CAM: the brighter, the more the last convolution sees this answer there"
    yield heading, [(overlay(photo, one), "") for (photo, _), one in maps]


def neighbours(predictor: Predictor, images: Images, source: Source) -> Iterator[Row]:
    """Each image, and the six training images nearest to it in the last hidden layer."""
    queries = last_hidden(predictor.model, [stacked(predictor, images)])
    loader = DataLoader(source.train, 32, predictor.transform, workers=2)

    def batches() -> Iterator[Array]:
        with screen().bar("training images", len(source.train)) as bar:
            for x, _ in loader.epoch(0):
                yield to_device(x, predictor.device)
                bar.update(len(x))

    points = last_hidden(predictor.model, batches())
    P, D = points.shape
    heading = f"the nearest of {P:,} training images, by the {D:,} units of the last hidden layer"
    for (photo, *_, truth), found, far in zip(images, *nearest(queries, points, 6), strict=True):
        row = [(photo, "looked for" + (f":\n{truth}" if truth else ""))]
        for i, distance in zip(found.tolist(), far, strict=True):
            image, label = loader.dataset[i]
            row.append((predictor.crop(image), f"{source.classes[label]}\nat {distance:.1f}"))
        yield heading, row
        heading = ""


def first_filters(model: Any) -> np.ndarray:
    """The weight (K, K, C, F) of the first convolution."""
    weights = [layer.params["weight"] for _, layer in model.leaves() if isinstance(layer, Conv2d)]
    if not weights or weights[0].shape[2] not in (1, 3):
        raise ConfigError("the network does not begin with a convolution over colours")
    return to_cpu(weights[0])


def filters(model: Any, settings: dict[str, Any]) -> Iterator[Row]:
    """The filters of the first layer, and where it is known what they were, what changed."""
    weight = first_filters(model)
    K, _, _, F = weight.shape
    sheets = {f"the {F} filters of {K} x {K} pixels": weight}
    if isinstance(model, AlexNet) and {"init", "seed"} <= settings.keys():
        begun = AlexNet(**model.config, init=settings["init"], seed=settings["seed"])
        sheets["what training changed in them"] = weight - first_filters(begun)
    for text, w in sheets.items():
        heading = f"{text} (standard deviation {w.std():.4f})"
        yield heading, [(picture, "") for picture in filter_pictures(w)]


def main(options: argparse.Namespace) -> int:
    """Draw what there is to draw, and say what is left out; returns 0."""
    predictor = Predictor(options.checkpoint, choose_device(options.device)[0])
    settings = run_settings(predictor.path)
    source = functools.cache(lambda: find_source(options, predictor.path))
    photos = options.photos
    images = some_photos(photos, predictor) if photos else some_test_images(source(), predictor)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make {str(options.out)!r}: {error.strerror}") from None
    drawings: dict[str, Callable[[], Iterator[Row]]] = {
        "activations": lambda: activations(predictor, images),
        "attention": lambda: attention(predictor, images),
        "neighbours": lambda: neighbours(predictor, images, source()),
        "filters": lambda: filters(predictor.model, settings)}  # fmt: skip
    rows: list[Row] = []
    for name, draw in drawings.items():
        try:
            rows.extend(draw())  # of one that fails, what comes before that
        except (ConfigError, DataError) as error:
            print(f"{name}: {error}")
    write_page(options.out / "index.html", f"pictures of {predictor.path}",
        (pictures(*row) for row in rows))  # fmt: skip
    print(options.out / "index.html")
    return 0
