"""Prediction: a checkpoint knows its model, classes and preprocessing; you only bring a photo."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from minialex.attach import accelerate
from minialex.data import Compose, ToArray, open_rgb
from minialex.data.folder import EXTENSIONS
from minialex.data.ten_crops import ten_crops
from minialex.errors import CheckpointError, DataError, MinialexError
from minialex.losses import log_softmax
from minialex.models import AlexNet
from minialex.train.checkpoint import load_checkpoint, load_state_dict
from minialex.xp import Array, to_cpu, to_device


class Predictor:
    """A trained network with the preprocessing that it was trained with.

    Raises CheckpointError where the file is missing, damaged or holds another kind of model.
    """

    def __init__(self, checkpoint: str | Path, device: str = "cpu"):
        tensors, header = load_checkpoint(checkpoint)
        tensors = {
            name: array for name, array in tensors.items() if not name.startswith("optimizer.")
        }
        try:
            self.classes: list[str] = list(header["classes"])
            self.transform = Compose.from_config(header["transform"])
            self.model = AlexNet(**header["model"])
        except (KeyError, TypeError, ValueError, MinialexError) as error:
            raise CheckpointError(
                f"{str(checkpoint)!r} has no usable model header ({error})"
            ) from None
        load_state_dict(self.model, tensors)
        self.device = device
        accelerate(self.model.to(device))
        self.model.train(False)

    def probabilities(self, image: Image.Image, ten_crop: bool = False) -> np.ndarray:
        """The probability of each class, (C,), for an RGB image.

        With `ten_crop`, the mean over the four corners, the middle, and their mirror images: ten
        looks err less often than one (Krizhevsky, Sutskever, Hinton 2012, section 4.1).
        """
        if ten_crop:
            x = to_device(np.stack(ten_crops(image, self.transform)), self.device)
        else:
            x = self.batch([image])
        return self.batch_probabilities(x).mean(axis=0)

    def batch(self, images: list[Image.Image]) -> Array:
        """RGB images as the network gets them, (N, side, side, 3), on its device."""
        return to_device(np.stack([self.transform(image, None) for image in images]), self.device)

    def batch_probabilities(self, x: Array) -> np.ndarray:
        """The probability of each class, (N, C), for x (N, side, side, 3)."""
        return np.exp(to_cpu(log_softmax(self.model(x))))

    def crop(self, image: Image.Image) -> Image.Image:
        """The part of an RGB image that the network sees, as an image."""
        for step in self.transform.transforms:
            if isinstance(step, ToArray):
                break
            image = step(image, None)
        return image

    def predict(self, path: str | Path, ten_crop: bool = False) -> dict[str, Any]:
        """{"file", "class", "probability", "probabilities"} of a photo.

        Raises DataError where it cannot be read.
        """
        p = self.probabilities(open_rgb(path), ten_crop)
        best = int(p.argmax())
        return {
            "file": str(path),
            "class": self.classes[best],
            "probability": float(p[best]),
            "probabilities": {
                name: float(value) for name, value in zip(self.classes, p, strict=True)
            },
        }


def find_photos(paths: list[Path]) -> list[Path]:
    """The photos named, and all photos in the folders named, sorted.

    Raises DataError for a folder without photos.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(
                p for p in path.rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file()
            )
            if not inside:
                raise DataError(f"folder {str(path)!r} has no photos")
            found += inside
        else:
            found.append(path)
    return found
