"""What each difference between AlexNet's program and its paper is worth, on drawings.

The program that won in 2012 does things that its paper does not tell (chapter 10 of the book).
Here each is undone, one at a time, in a small network with the program's recipe; runs with the same
seed share images, their order and their first weights, so that their errors can be compared in
pairs (examples/improvements/paired.py).

    python examples/differences.py                  all, with 5 seeds, into runs/differences
    python examples/differences.py rates            with which learning rates it learns at all
    python examples/differences.py --seeds 2 --images 200 --epochs 2     a trial

A run that is interrupted goes on where it was, when the same command is given again; `--minutes`
begins no training after that time.  The table, table.md, and the picture, table.png, are made of
what is there.  All took an hour on two cores.

The rate.  The paper's recipe with its rate of 0.01 learns nothing on two classes: fc7's biases of 1
make the step unstable (minialex/train/recipes.py).  `rates` shows what the program's does; --lr is
the one with which all differences are measured.  With `rates --images
1000 --tests 300 --epochs 12 --side 68`, on two cores, 0.01 stayed at 50 % error, and 0.0005 too,
for which 12 epochs are few; 0.005, 0.002 and 0.001 came to 35 to 38 %.
"""

import argparse
import dataclasses
import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

import minialex as mx
from minialex.data import Source
from minialex.fast.threads import limit_threads
from minialex.files import write_text
from minialex.train.config import Config, configure
from minialex.train.loop import Training
from minialex.train.progress import TrainingError
from minialex.train.recipes import make_optimizer
from minialex.train.screen import Silent
from minialex.train.setup import fit_options, make_loaders, make_model, measure_colours, square

sys.path.append(str(Path(__file__).parent / "improvements"))
from paired import paired, student

TEST = 1_000_000  # where the drawings begin that it is tested on
RATES = (0.01, 0.005, 0.002, 0.001, 0.0005)


def relu_first(layers: list[Any]) -> list[Any]:
    """Layer 1 as the paper has it: conv, ReLU, LRN, pool."""
    conv, norm, pool, relu, *rest = layers
    return [conv, relu, norm, pool, *rest]


def one_lrn(layers: list[Any]) -> list[Any]:
    """Without the second LRN of layer 2."""
    return [layer for layer in layers if not isinstance(layer, mx.layers.LocalResponseNorm2d)]


def whole_alpha(layers: list[Any]) -> list[Any]:
    """Alpha as in the paper: not divided by the number of maps."""
    for layer in layers:
        if isinstance(layer, mx.LocalResponseNorm):
            layer.alpha *= layer.size
    return layers


def lrn_across_towers(layers: list[Any]) -> list[Any]:
    """LRN's neighbours in both towers."""
    for layer in layers:
        if isinstance(layer, mx.LocalResponseNorm):
            layer.groups = 1
    return layers


def one_tower(layers: list[Any]) -> list[Any]:
    """Convolutions and LRN in one tower, with the filters of both."""
    for at, layer in enumerate(lrn_across_towers(layers)):
        if isinstance(layer, mx.Conv2d) and layer.groups > 1:
            sizes = layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride
            std = 0.03 if layer.kernel_size == 3 else 0.01
            layers[at] = mx.Conv2d(*sizes, layer.padding, std=std)
            layers[at].params["bias"][...] = layer.params["bias"]
    return layers


@dataclasses.dataclass(frozen=True)
class Arm:
    """One difference undone: other options, other layers, or images that are wider by `pixels`."""

    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    layers: Callable[[list[Any]], list[Any]] = list
    pixels: int = 0


class Drawn(list[Any]):
    """Drawings in memory."""

    classes: list[str] = ["cat", "dog"]  # noqa: RUF012 -- as the protocol has it


PROGRAM = "as the program"
ARMS = {
    PROGRAM: Arm(),
    "ReLU before LRN in layer 1": Arm(layers=relu_first),
    "no second LRN in layer 2": Arm(layers=one_lrn),
    "LRN's alpha not divided by 5": Arm(layers=whole_alpha),
    "LRN across both towers": Arm(layers=lrn_across_towers),
    "one tower": Arm(layers=one_tower),
    "biases at the rate of the weights": Arm({"bias_rate": 1.0}),
    "weight decay of the biases": Arm({"bias_decay": True}),
    "0.01 in conv3 to conv5": Arm({"init": "paper"}),
    "3 pixels more, no overhang": Arm(pixels=3),
    "colours by variances, not divided": Arm({"colour_form": "paper"}),
    "no colours": Arm({"colour_shift": 0.0}),
    "a crop for each image": Arm({"same_crop": 1}),
    "the mean colour, no mean image": Arm({"normalize": "mean"}),
}


def config_of(arm: str, options: argparse.Namespace, lr: float) -> Config:
    """The settings of a run."""
    settings = dict(recipe="krizhevsky", width=options.width, epochs=options.epochs, lr=lr,
        batch_size=32, same_crop=8, image_size=options.side + ARMS[arm].pixels, workers=0,
        seed=0, device="cpu", cache=False)  # fmt: skip
    return configure({**settings, **ARMS[arm].options})


def make_network(arm: str, config: Config) -> mx.AlexNet:
    """The network of an arm.

    Its first weights are those of the recipe over the root of the width, but for conv1, which sees
    three colours at any width: so signals and gradients are as large as in the whole network.
    """
    model = make_model(config, 2)
    mx.seed(1000 + config.seed)  # of layers that an arm makes: no weights that others have
    model.features.layers = ARMS[arm].layers(model.features.layers)
    _, *others = (layer for _, layer in model.leaves() if layer.params)
    for layer in others:
        layer.params["weight"] *= np.float32(config.width**-0.5)
    return model


def run(arm: str, seed: int, lr: float, options: argparse.Namespace) -> dict[str, Any]:
    """Train an arm with a seed; what came out of its last epoch, or why it ended before."""
    limit_threads(1)
    config = dataclasses.replace(config_of(arm, options, lr), seed=seed)
    size: Any = square(config.image_size or 0, config)[0].size
    train = Drawn(mx.Drawings(options.images, seed, size))
    test = Drawn(mx.Drawings(options.tests, seed, size, TEST))
    source = Source(train, test, test, Drawn.classes, "drawings")
    model = make_network(arm, config)
    config = measure_colours(config, source.train, model.image_size)
    loader, val, _ = make_loaders(config, source, model)
    numbers = config.lr, config.weight_decay, config.freeze, config.bias_rate, config.bias_decay
    optimizer = make_optimizer(config.optimizer, model, *numbers)
    result = {"arm": arm, "seed": seed, "lr": lr}
    try:
        fit = Training(model, loader, optimizer, val=val, screen=Silent(), **fit_options(config))
        history = fit.train()
    except TrainingError as error:
        return result | {"failed": str(error)}
    return result | {
        "test_error": 1 - history[-1]["val_acc"], "train_loss": history[-1]["train_loss"],
        "errors": [1 - row["val_acc"] for row in history],
    }  # fmt: skip


def all_of(jobs: list[tuple[str, int, float]], options: argparse.Namespace) -> list[dict[str, Any]]:
    """The results of all jobs, those that a file has and new ones, which it then has as well."""
    file = Path(options.out) / "results.json"
    design = {name: getattr(options, name)
              for name in ("images", "tests", "epochs", "width", "side")}  # fmt: skip
    found: list[dict[str, Any]] = []
    if file.exists():
        kept = json.loads(file.read_text("utf-8"))
        if kept["design"] != design:
            raise mx.MinialexError(f"{str(file)!r} is of other sizes; choose another --out")
        found = kept["results"]
    known = {(one["arm"], one["seed"], one["lr"]) for one in found}
    left, end = [job for job in jobs if job not in known], time.monotonic() + 60 * options.minutes
    file.parent.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=context) as pool:
        futures = [pool.submit(run, *job, options) for job in left]
        for future in as_completed(futures):
            if future.cancelled():
                continue
            found.append(future.result())
            write_text(file, json.dumps({"design": design, "results": found}, indent=0) + "\n")
            one = found[-1]
            shown = one.get("failed") or f"{one['test_error']:.1%} test error"
            print(f"seed {one['seed']}  lr {one['lr']:g}  {one['arm']}: {shown}", flush=True)
            if time.monotonic() > end:
                for other in futures:
                    other.cancel()
    return [one for one in found if (one["arm"], one["seed"], one["lr"]) in {*jobs}]


def errors_of(results: list[dict[str, Any]], arm: str) -> tuple[list[float], Any]:
    """The test errors of an arm, and how many points they are above the program's, in pairs."""
    own, program = (
        {one["seed"]: one["test_error"] for one in results
         if one["arm"] == name and "failed" not in one}
        for name in (arm, PROGRAM)
    )  # fmt: skip
    pairs = [100 * (own[seed] - program[seed]) for seed in sorted(own.keys() & program.keys())]
    return list(own.values()), paired(pairs)


def table(results: list[dict[str, Any]], lr: float, options: argparse.Namespace) -> str:
    """The differences in points of the test error; above 0 the program's way is the better one."""
    sizes = f"{options.images:,} drawings of {options.side} pixels, width {options.width:g}"
    rows = [
        f"{sizes}, {options.epochs} epochs, rate {lr:g}, seeds {options.seeds}.",
        "",
        "| undone | test error | more than the program's, points | verdict |",
        "| --- | --- | --- | --- |",
    ]
    words = {"held": "the program's way is better", "did not hold": "the paper's way is better"}
    for arm in ARMS:
        own, found = errors_of(results, arm)
        mean = f"{100 * sum(own) / len(own):.1f} %" if own else "-"
        if arm == PROGRAM or found.error is None:
            rows.append(f"| {arm} | {mean} | | |")
            continue
        interval = f"{found.mean:+.1f} ± {student(found.n) * found.error:.1f}"
        rows.append(f"| {arm} | {mean} | {interval} | {words.get(found.verdict, found.verdict)} |")
    failed = [one for one in results if "failed" in one]
    rows += ["", *(f"seed {one['seed']}, {one['arm']}: {one['failed']}" for one in failed)]
    return "\n".join(rows).rstrip() + "\n"


def picture(results: list[dict[str, Any]], path: Path) -> None:
    """The differences with their 95 % intervals, as a PNG, where matplotlib is installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no table.png: pip install 'minialex[plot]'")
        return
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    undone = [name for name in reversed(ARMS) if name != PROGRAM]
    for at, arm in enumerate(undone):
        _, found = errors_of(results, arm)
        if found.error is not None:
            half = student(found.n) * found.error
            axes.errorbar(found.mean, at, xerr=half, fmt="o", color="tab:blue", capsize=3)
    axes.axvline(0, color="grey", linewidth=1)
    axes.set_xscale("symlog", linthresh=10, linscale=2)  # even where a network learns nothing
    axes.set_xticks([-10, -5, 0, 5, 10, 50], ["-10", "-5", "0", "5", "10", "50"])
    axes.set_yticks(range(len(undone)), undone)
    axes.set_xlabel(
        "points of test error more than the program's, beyond 10 on a logarithmic scale"
    )
    figure.savefig(path, dpi=100)


def main() -> None:
    """Run what is left of the experiment, and write its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=("differences", "rates"), default="differences")
    parser.add_argument("--lr", type=float, default=0.002, help="of the weights (0.002)")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--images", type=int, default=2000, help="drawings to train on (2000)")
    parser.add_argument("--tests", type=int, default=1000, help="drawings to test on (1000)")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--width", type=float, default=0.125, help="of the network (0.125)")
    parser.add_argument(
        "--side", type=int, default=96, help="pixels; 4 n, so that windows overhang"
    )
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, a thread each (2)")
    parser.add_argument("--minutes", type=float, default=110, help="then begin no more (110)")
    parser.add_argument("--out", default="runs/differences")
    options = parser.parse_args()
    if options.what == "rates":
        for one in all_of([(PROGRAM, 0, lr) for lr in RATES], options):
            print(f"lr {one['lr']:g}: {one.get('failed') or one['errors']}")
        return
    # Seed by seed, so that those which are there when time is over are complete.
    jobs = [(arm, seed, options.lr) for seed in range(options.seeds) for arm in ARMS]
    results, out = all_of(jobs, options), Path(options.out)
    text = table(results, options.lr, options)
    write_text(out / "table.md", text)
    picture(results, out / "table.png")
    print(text)


if __name__ == "__main__":
    try:
        main()
    except mx.MinialexError as error:
        raise SystemExit(f"error: {error}") from None
