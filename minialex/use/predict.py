"""Prediction: a checkpoint knows its model, classes and preprocessing; you only bring a photo."""

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from minialex.attach import accelerate
from minialex.data import Compose, Transform, open_rgb
from minialex.data.compose import CROPS
from minialex.data.files import photos_below, plain_name
from minialex.data.folder import Samples, Subset
from minialex.data.pixels import needed_side
from minialex.errors import CheckpointError, ConfigError, DataError, MinialexError
from minialex.layers import Layer
from minialex.page import LARGEST, element, embedded, inlay, table
from minialex.train.evaluation import images_to_test, log_probabilities
from minialex.train.model_file import read_model
from minialex.train.run import RunFolder
from minialex.use.answers import TOP
from minialex.xp import Array, to_device


class Prediction(dict[str, Any]):
    """What `predict` found; a notebook shows the photo beside the TOP best classes."""

    def _repr_html_(self) -> str:
        best = sorted(self["probabilities"].items(), key=lambda item: -item[1])[:TOP]
        rows, path = [(element("bdi", name), f"{p:.1%}") for name, p in best], Path(self["file"])
        photo = embedded(open_rgb(path, LARGEST), "", "JPEG") if path.exists() else ""
        return inlay(element("div", photo, table(path.name, (), rows, "best"), class_="answer"))


class Predictor:
    """A trained network with the preprocessing that it was trained with.

    checkpoint   a .safetensors file, or the folder of a run, whose best.safetensors it then is
    into         the network to read the weights into; needed where it has layers of your own
    transform    the preprocessing of a photo, in place of the checkpoint's

    `classes` are their names; without names in the checkpoint, "0", "1" ... from the first answer
    on.  Raises CheckpointError where the file is missing, damaged or holds another kind of model.
    """

    def __init__(self, checkpoint: str | Path, device: str = "cpu", into: Layer | None = None,
        transform: Transform | None = None):  # fmt: skip
        self.path, self.device, self._transform = find_checkpoint(checkpoint), device, transform
        self.model, header = read_model(self.path, into)
        try:
            self.classes = list(map(str, header["classes"] or []))
            if transform is None and header["transform"] is not None:
                self._transform = Compose.from_config(header["transform"])
        except (KeyError, TypeError, MinialexError) as error:
            raise CheckpointError(f"{str(self.path)!r} has no usable header ({error})") from None
        accelerate(self.model.to(device))
        self.model.train(False)

    @property
    def transform(self) -> Transform:
        """The preprocessing of a photo.  Raises CheckpointError where nobody knows it."""
        if self._transform is None:
            how = "train with val=DataLoader(..., transform=...) made of mx.transforms, or give it"
            text = f"{str(self.path)!r} has no preprocessing for photos"
            raise CheckpointError(f"{text}; {how} to Predictor")
        return self._transform

    def probabilities(self, image: Image.Image, ten_crop: bool = False) -> np.ndarray:
        """The probability of each class, (C,), for an RGB image.

        With `ten_crop`, the mean over the four corners, the middle, and their mirror images: ten
        looks err less often than one (Krizhevsky, Sutskever, Hinton 2012, section 4.1).  Raises
        DataError for an image that cannot be prepared, or is of a size that does not fit.
        """
        (answer,) = self.answers([(image, 0)], ten_crop, size=1)
        if isinstance(answer, Exception):
            raise DataError(f"the network cannot take this image: {answer}")
        return np.exp(answer[-1])

    def batch(self, images: list[Image.Image]) -> Array:
        """RGB images as the network gets them, (N, H, W, C), on its device; see `stack`."""
        return self.stack([self.transform(image, None) for image in images])

    def stack(self, arrays: list[np.ndarray]) -> Array:
        """What the preprocessing made of some photos, (H, W, C) each, as (N, H, W, C).

        Raises DataError where they differ in size.
        """
        if len({array.shape for array in arrays}) > 1:
            raise DataError("the photos differ in size, and the preprocessing crops none of them")
        return to_device(np.stack(arrays), self.device)

    def _name_classes(self, count: int) -> None:
        self.classes = self.classes or [str(c) for c in range(count)]
        if count != len(self.classes):
            raise CheckpointError(f"{self.path}: {len(self.classes)} names of {count} classes")

    def answers(self, images: Samples, ten_crop: bool = False, size: int = 0
    ) -> Iterator[list[Any] | Exception]:  # fmt: skip
        """[label, log p] of each image of a dataset: its probabilities' logarithms, float64 (C,).

        With `ten_crop` [label, log p of the middle crop, log p of the mean over ten].  For an image
        that cannot be read, or does not fit the network, it is the error that says why.  As many
        images are computed at a time as is fast, or `size`.
        """
        size, done = size or (4 if ten_crop else 32), 0
        loader = images_to_test(images, size, self.transform, ten_crop, workers=2)
        while done < len(images):
            batches = log_probabilities(self.model, loader, self.device, ten_crop, done // size)
            try:
                for found, labels in batches:
                    self._name_classes(found[0].shape[1])
                    yield from map(list, zip(labels.tolist(), *found, strict=True))
                    done += len(labels)
            except (DataError, ConfigError, ValueError) as error:
                # One of the next `size` images is damaged, or of another size than the others.
                some = range(done, min(done + size, len(images)))
                alone = [error] if size == 1 else self.answers(Subset(images, some), ten_crop, 1)
                yield from alone
                done += len(some)

    def crop(self, image: Image.Image) -> Image.Image:
        """The part of an RGB image that the network sees, as an image."""
        steps = getattr(self.transform, "transforms", ())
        return Compose(tuple(itertools.takewhile(lambda s: isinstance(s, CROPS), steps)))(image)

    def open(self, path: str | Path) -> Image.Image:
        """The photo in a file, decoded as large as the network needs it, as in training."""
        return open_rgb(path, needed_side(self.transform))

    def predict(self, path: str | Path, ten_crop: bool = False) -> Prediction:
        """{"file", "class", "probability", "probabilities"} of a photo.

        Raises DataError where it cannot be read, CheckpointError without a preprocessing.
        """
        return self.named(path, self.probabilities(self.open(path), ten_crop))

    def named(self, path: str | Path, p: np.ndarray) -> Prediction:
        """What `predict` returns, of the probabilities (C,) of a photo."""
        best = int(p.argmax())
        probabilities = {name: float(value) for name, value in zip(self.classes, p, strict=True)}
        answer = {"file": str(path), "class": self.classes[best], "probability": float(p[best])}
        return Prediction(answer, probabilities=probabilities)


def find_checkpoint(path: str | Path) -> Path:
    """The file at `path`, or best.safetensors where it is a folder.

    Raises CheckpointError for a folder without one.
    """
    path = Path(path)
    if path.is_dir() and not (path / "best.safetensors").is_file():
        raise CheckpointError(f"folder {str(path)!r} has no best.safetensors; give a run's folder")
    return path / "best.safetensors" if path.is_dir() else path


def run_settings(checkpoint: Path) -> dict[str, Any]:
    """The settings in config.json beside a checkpoint; {} where there is none.

    Raises CheckpointError where it is damaged.
    """
    folder = checkpoint.parent
    settings = RunFolder(folder).settings() if (folder / "config.json").exists() else {}
    return settings if isinstance(settings, dict) else {}


def find_photos(
    paths: list[Path], classes: list[str], left_out: Counter[str] | None = None
) -> list[tuple[Path, str | None]]:
    """The photos named, and all photos in the folders named, sorted: as in training.

    Each comes with the class that it shows, where it lies in a folder with the name of one of
    `classes`, else with None.  What lies in folders beside photos is counted in `left_out`.  Raises
    DataError for a folder without photos.
    """
    found: list[tuple[Path, str | None]] = []
    known = {plain_name(name): name for name in classes}
    for path in paths:
        photos = [path]
        if path.is_dir():
            photos = [Path(photo) for photo in photos_below(path, left_out)]
            # Class by class, as `ImageFolder` has them: "cat/1.jpg" before "cat 2/1.jpg".
            photos.sort(key=lambda photo: plain_name(photo.relative_to(path).parts[0]))
            if not photos:
                raise DataError(f"folder {str(path)!r} has no photos")
        for photo in photos:
            folders = photo.relative_to(path.parent).parts[:-1] or (path.parent.name,)
            shown = (known[n] for folder in reversed(folders) if (n := plain_name(folder)) in known)
            found.append((photo, next(shown, None)))
    return found
