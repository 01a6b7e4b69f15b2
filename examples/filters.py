"""The first-layer filters of a checkpoint as a picture, like figure 3 of the AlexNet paper.

Do not expect clean edges and colour blobs at once: a short training run leaves much of the noise
that the weights began as.  Where config.json of its run lies beside the checkpoint, the picture
therefore also shows what training changed.
"""

import argparse
from pathlib import Path

import numpy as np

from minialex.cli import run_main
from minialex.layers import Conv2d
from minialex.models import AlexNet
from minialex.train.run import RunFolder
from minialex.use.pictures import filter_sheet, stack
from minialex.use.predict import Predictor


def first_filters(model: AlexNet) -> np.ndarray:
    """The weight (11, 11, 3, F) of the first layer."""
    first = next(layer for _, layer in model.leaves() if isinstance(layer, Conv2d))
    return np.asarray(first.params["weight"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoint", type=Path, help="best.safetensors of a run folder")
    parser.add_argument("--out", type=Path, default=Path("filters.png"), help="default filters.png")
    parser.add_argument("--scale", type=int, default=4, help="pixels per weight (default 4)")
    options = parser.parse_args()

    model = Predictor(options.checkpoint).model
    weight = first_filters(model)
    K, _, _, F = weight.shape
    title = f"the {F} filters of {K} x {K} pixels (standard deviation {weight.std():.4f})"
    sheets = [(title, weight)]
    if (options.checkpoint.parent / "config.json").exists():
        config = RunFolder.open(options.checkpoint.parent)[1]
        begun = first_filters(AlexNet(**model.config, init=config.init, seed=config.seed))
        change = weight - begun
        title = f"what training changed in them (standard deviation {change.std():.4f})"
        sheets.append((title, change))
    picture = stack([(text, filter_sheet(w, options.scale, columns=16)) for text, w in sheets])
    picture.save(options.out)
    print(options.out)
    return 0


if __name__ == "__main__":
    run_main(main)
