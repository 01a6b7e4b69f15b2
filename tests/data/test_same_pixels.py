"""Training, evaluation and prediction see the same pixels, as many as the network can use."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from minialex.data import (
    CenterCrop,
    Compose,
    DataLoader,
    ImageFolder,
    Normalize,
    RandomResizedCrop,
    Resize,
    ToArray,
    keep_decoded,
    open_rgb,
    open_source,
)
from minialex.data.pixels import needed_side
from minialex.train.config import Config
from minialex.train.setup import evaluation_transform, make_loaders, training_transform
from minialex.use.predict import Predictor
from trained import lenet, make_run

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (300, 400), dtype=np.uint8)
SMOOTH = Image.fromarray(RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8)).resize((1100, 1030))


def kinds():
    """{file name: image, options of save}: every format and bit depth that is read."""
    rgb = SMOOTH.resize((550, 515))
    deep = Image.fromarray(GREY.astype(np.uint16) * 257)
    found = {
        f"rgb.{end}": (rgb, {})
        for end in ("jpg", "png", "webp", "gif", "bmp", "tif", "ppm", "tga", "jp2", "avif")
    }
    found |= {
        "progressive.jpg": (rgb, {"progressive": True}), "cmyk.jpg": (rgb.convert("CMYK"), {}),
        "grey.jpg": (rgb.convert("L"), {}), "alpha.png": (rgb.convert("RGBA"), {}),
        "la.png": (Image.fromarray(GREY).convert("LA"), {}), "deep.png": (deep, {}),
        "palette.png": (rgb.quantize(16), {}), "one.png": (rgb.convert("1"), {}),
        "deep.tif": (deep, {}), "cmyk.tif": (rgb.convert("CMYK"), {}),
        "float.tif": (Image.fromarray(GREY.astype(np.float32) / 255), {}),
        "int.tif": (Image.fromarray(GREY.astype(np.int32)), {}),
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = {"turned.jpg": (rgb, {"exif": exif}), "turned.png": (rgb, {"exif": exif})}
    return found | turned | {"large.jpg": (SMOOTH, {})}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """All kinds in a class of each part; the other class has two of them."""
    folder = tmp_path_factory.mktemp("kinds")
    first = folder / "train" / "a"
    first.mkdir(parents=True)
    for file, (image, options) in kinds().items():
        try:
            image.save(first / file, **options)
        except (KeyError, OSError):
            assert file.endswith(".avif")  # an older Pillow
    shutil.copytree(first, folder / "test" / "a")
    for other in ("train/b", "test/b"):
        (folder / other).mkdir()
        for file in ("rgb.jpg", "rgb.png"):
            shutil.copy(first / file, folder / other)
    return folder


def images(loader):
    """{file: (H, W, C)} of all samples of a loader, in epoch 0."""
    order = loader.order(0)
    samples = np.concatenate([x for x, _ in loader.epoch(0)])
    photos = loader.dataset if hasattr(loader.dataset, "samples") else loader.dataset.dataset
    paths = [photos.samples[i][0] for i in order]
    return dict(zip(paths, samples, strict=True))


@pytest.mark.parametrize("side", [67, 227, 448])
def test_training_evaluation_and_prediction_see_the_same(folder, tmp_path, side):
    config = Config(data=str(folder), image_size=side, augment="none", workers=2, batch_size=5)
    source = open_source(folder, seed=0)
    model = lenet()
    model.image_size = side
    middle = evaluation_transform(side, config)
    make_run(tmp_path / "run", model, transform=middle)
    predictor = Predictor(tmp_path / "run")
    loaders = make_loaders(config, source, model)
    cached = DataLoader(source.test, 3, middle)
    keep_decoded([cached], tmp_path)
    seen = {}
    for path in sorted((folder / "test/a").iterdir()):
        seen[path.name] = predictor.batch([predictor.open(path)])[0]
        again = predictor.batch([open_rgb(path, round(side * 256 / 227))])[0]
        assert np.array_equal(again, seen[path.name]), path
    for loader in (*loaders, cached, cached):
        for path, x in images(loader).items():
            assert np.array_equal(x, seen[os.path.basename(path)]), path


def test_of_the_same_photo_random_crops_and_evaluation_decode_as_much(folder):
    config = Config(augment="full")
    for side in (67, 224, 227, 448):
        train, middle = training_transform(side, config), evaluation_transform(side, config)
        assert needed_side(train) == needed_side(middle) == round(side * 256 / 227)
    folder = ImageFolder(folder / "train")
    for side, expected in ((67, 129), (227, 258), (448, 515), (600, 1030)):
        loader = DataLoader(folder, 1, Compose((RandomResizedCrop(side), ToArray())))
        image, _ = loader.dataset[folder.names.index("a/large.jpg")]
        assert min(image.size) == expected
    assert min(folder[folder.names.index("a/large.jpg")][0].size) == 1030  # who asks, gets all
    fixed = DataLoader(ImageFolder(folder.root, 100), 1, Compose((Resize(900), ToArray())))
    assert min(fixed.dataset[folder.names.index("a/large.jpg")][0].size) == 129


def test_a_jpeg_is_as_sharp_as_a_png_at_large_sizes(tmp_path):
    pixels = np.kron(np.indices((32, 32)).sum(0) % 2 * 255, np.ones((32, 32)))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for k, end in enumerate(("jpg", "png")):
            image = Image.fromarray((pixels + k).clip(0, 255).astype(np.uint8))
            image.save(tmp_path / name / f"{k}.{end}")
    transform = Compose((Resize(512), CenterCrop(448), ToArray(), Normalize((0.5,) * 3, (1,) * 3)))
    (x, _), *_ = DataLoader(ImageFolder(tmp_path), 4, transform)
    assert np.abs(x[0] - x[1]).mean() < 0.05 and x[0].std() > 0.4


def test_the_middle_of_a_long_image_is_that_of_the_whole():
    image = Image.fromarray(RNG.integers(0, 256, (60, 3000, 3), dtype=np.uint8))
    for one in (image, image.transpose(Image.Transpose.ROTATE_90)):
        whole = CenterCrop(48)(Resize(50)(one))
        part = Compose((Resize(50), CenterCrop(48)))(one)
        assert part.size == whole.size == (48, 48)
        assert np.abs(np.asarray(part).astype(int) - np.asarray(whole)).max() <= 2
