"""What a checkpoint sees: activations, saliency, Grad-CAM, and the nearest training images.

Writes activations.png, attention.png and neighbours.png; minialex/use/explain.py says how to read
them.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from minialex.cli import run_main
from minialex.data import DataLoader, Source, open_rgb, open_source
from minialex.gpu.devices import choose_device
from minialex.use.explain import Trace, grad_cam, last_hidden, nearest, saliency
from minialex.use.pictures import activation_sheet, map_picture, overlay, picture_row, stack
from minialex.use.predict import Predictor, find_photos
from minialex.xp import to_device

Images = list[Image.Image]


def attention(predictor: Predictor, images: Images) -> Image.Image:
    """Each image with the network's answer, the pixels that matter to it, and where it sees it."""
    x = predictor.batch(images)
    p = predictor.batch_probabilities(x)
    best = p.argmax(axis=1)
    photos = [predictor.crop(image) for image in images]
    answers = [f"{predictor.classes[c]}  {row[c]:.1%}" for row, c in zip(p, best, strict=True)]
    pixels = [map_picture(m, photos[0].size) for m in saliency(predictor.model, x, best)]
    maps = grad_cam(predictor.model, x, best)
    overlays = [overlay(photo, m) for photo, m in zip(photos, maps, strict=True)]
    rows = [list(zip(photos, answers, strict=True))]
    rows += [[(m, "") for m in pixels], [(m, "") for m in overlays]]
    titles = (
        "what the network sees, and its answer",
        "saliency: the brighter a pixel, the more its change would move the score of this answer",
        "Grad-CAM: the brighter a region, the more the last convolution sees this answer there",
    )
    return stack([(title, picture_row(row)) for title, row in zip(titles, rows, strict=True)])


def neighbours(predictor: Predictor, images: Images, source: Source, count: int = 6) -> Image.Image:
    """Each image, and the training images that are nearest to it in the last hidden layer."""
    loader = DataLoader(source.train, 32, predictor.transform, workers=2)
    queries = last_hidden(predictor.model, [predictor.batch(images)])
    batches = (to_device(x, predictor.device) for x, _ in loader.epoch(0))
    points = last_hidden(predictor.model, batches)
    rows = []
    for image, numbers, distances in zip(images, *nearest(queries, points, count), strict=True):
        row = [(predictor.crop(image), "looked for")]
        for i, distance in zip(numbers.tolist(), distances, strict=True):
            photo, label = source.train[i]
            row.append((predictor.crop(photo), f"{source.classes[label]}, at {distance:.1f}"))
        rows.append(picture_row(row))
    P, D = points.shape
    title = f"the nearest of {P:,} training images, by the {D:,} units of the last hidden layer"
    return stack([(title, rows[0]), *(("", row) for row in rows[1:])])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="best.safetensors of a run folder")
    parser.add_argument(
        "photos", type=Path, nargs="*", help="photos or folders of photos (default: 6 test images)"
    )
    parser.add_argument(
        "--data", default="drawings", help="as in training; the nearest images are searched there"
    )
    parser.add_argument("--limit", type=int, help="the most training images to search")
    parser.add_argument("--seed", type=int, default=0, help="chooses the test images (default 0)")
    parser.add_argument(
        "--out", type=Path, default=Path("pictures"), help="folder (default pictures)"
    )
    parser.add_argument("--device", default="auto", help="cpu, gpu or auto (default)")
    options = parser.parse_args()

    predictor = Predictor(options.checkpoint, choose_device(options.device)[0])
    source = open_source(options.data, seed=options.seed, limit=options.limit)
    if options.photos:
        images = [open_rgb(path) for path in find_photos(options.photos)]
    else:
        chosen = np.random.default_rng(options.seed).permutation(len(source.test))[:6]
        images = [source.test[i][0] for i in chosen.tolist()]

    options.out.mkdir(parents=True, exist_ok=True)
    trace = Trace(predictor.model, predictor.batch(images[:1]))
    for name, picture in (
        ("activations", activation_sheet(predictor.crop(images[0]), trace.convolution_maps())),
        ("attention", attention(predictor, images)),
        ("neighbours", neighbours(predictor, images, source)),
    ):
        picture.save(options.out / f"{name}.png")
        print(options.out / f"{name}.png")
    return 0


if __name__ == "__main__":
    run_main(main)
