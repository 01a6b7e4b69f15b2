"""Views -- what a loading thread says of a photo whose pixels lie elsewhere.

Photos may lie in the memory of a GPU (gpu/photos.py).  Then all that is left to a thread is to draw
the photo's random numbers, by the same calls in the same order as the transforms, so that they are
the same numbers.  What comes of them is a view, nine whole numbers:

    photo                       which one
    first, width, height        its rows from number `first` on, and their size; what follows counts
                                from there (see `rows_to_cut`)
    left, top, right, bottom    the part that the network sees, scaled to the network's size; where
                                it reaches beyond the photo it is black
    mirrored                    1 or 0
"""

from dataclasses import dataclass

import numpy as np

from minialex.data import transforms as steps_of
from minialex.data.colour import ColourShift
from minialex.data.compose import Compose
from minialex.data.pixels import fixed_part, split_transform
from minialex.data.transforms import pair, rows_to_cut


@dataclass(frozen=True)
class ToView:
    """The random part of a pipeline, for a photo of which only number, width and height are here.

    Called as `to_view(photo, rng)`, in the place of `pixels.ToBytes`: returns the view, int32 (9,),
    and the photo's random colour, (3,), or None without ColourShift.
    """

    crop: steps_of.RandomCrop | steps_of.RandomResizedCrop | None
    flip: steps_of.RandomHorizontalFlip | None
    shift: ColourShift | None

    def __call__(self, photo: tuple[int, int, int],
        rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None]:  # fmt: skip
        number, width, height = photo
        box, rows = (0, 0, width, height), None
        if self.crop is not None:
            box = self.crop.draw_box(width, height, rng)
        if isinstance(self.crop, steps_of.RandomResizedCrop):
            rows = rows_to_cut(width, height, box, pair(self.crop.size))
        first, (left, top, right, bottom) = rows.start if rows else 0, box
        mirrored = self.flip is not None and self.flip.draw(rng)
        view = (number, first, width, height - first, left, top - first, right, bottom - first,
            mirrored)  # fmt: skip
        return np.array(view, np.int32), None if self.shift is None else self.shift.draw(rng)


def split_view(transform: steps_of.Transform) -> tuple[Compose, ToView] | None:
    """`transform` as (its first steps, the same in every epoch, what makes a view after them).

    None where it does more between these and the floats than one random crop and one mirroring.
    """
    fixed, rest = fixed_part(transform)
    if (parts := split_transform(rest)) is None:
        return None
    steps = list(parts[0].crops.transforms)
    kinds = (steps_of.RandomCrop, steps_of.RandomResizedCrop), (steps_of.RandomHorizontalFlip,)
    crop, flip = (steps.pop(0) if steps and type(steps[0]) in kind else None for kind in kinds)
    return None if steps else (fixed, ToView(crop, flip, parts[0].shift))
