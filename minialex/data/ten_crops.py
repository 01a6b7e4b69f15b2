"""Ten crops -- ten views of a photo, whose answers are averaged, as the paper tested its network.

An object that one crop cuts off stands whole in another, and errors that depend on the position of
the crop average out.  It costs ten times the work.

Reference: Krizhevsky, Sutskever, Hinton (2012), section 4.1.
"""

import numpy as np
from PIL import Image

from minialex.data.compose import Compose
from minialex.data.transforms import CenterCrop, Transform
from minialex.errors import CheckpointError

MIDDLE_CROP = 8  # of the ten crops, the one that a single prediction uses


def ten_crops(image: Image.Image, transform: Transform) -> list[np.ndarray]:
    """What `transform` makes of ten crops instead of its last CenterCrop, each (H, W, C).

    In this order: upper left, upper right, lower left, lower right, middle; each followed by its
    mirror image.
    """
    steps = list(getattr(transform, "transforms", ()))
    crop_steps = [(i, step.size) for i, step in enumerate(steps) if isinstance(step, CenterCrop)]
    if not crop_steps:
        raise CheckpointError("ten crops need a preprocessing with a CenterCrop; here is none")
    where, size = crop_steps[-1]
    image = Compose(tuple(steps[:where]))(image)
    h, w = (size, size) if isinstance(size, int) else size
    right, bottom = image.width - w, image.height - h
    centre = round(right / 2), round(bottom / 2)
    views = []
    for left, top in ((0, 0), (right, 0), (0, bottom), (right, bottom), centre):
        crop = image.crop((left, top, left + w, top + h))
        views += [crop, crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    return [Compose(tuple(steps[where + 1 :]))(view) for view in views]
