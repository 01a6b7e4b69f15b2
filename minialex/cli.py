"""What the programs share: options, the progress bar, Ctrl-C, and errors as one line."""

import argparse
import contextlib
import dataclasses
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from minialex.data import keep_decoded, open_source
from minialex.errors import ConfigError, MinialexError
from minialex.fast.threads import cpu_count, limit_threads
from minialex.gpu.devices import allow_tf32, choose_device
from minialex.gpu.diagnosis import is_out_of_memory
from minialex.train.memory import parse_bytes
from minialex.train.run import AUGMENTATIONS, Config, RunFolder, configure, free_path
from minialex.train.trainer import Trainer
from minialex.use.pictures import plot_curves

# You may move a resumed run to another device, watch it more closely or test it more thoroughly.
# All else comes from its config.json: another learning rate, say, would make it another run.
MAY_CHANGE = {
    "device", "workers", "log_interval", "cache", "ten_crop", "memory_limit", "threads", "tf32",
    "algorithm", "plain",
}  # fmt: skip


def run_main(main: Callable[[], int]) -> None:
    """Run `main` and exit with its status; errors that the user can fix become one line, status 2.

    Any other error is a bug, and keeps its traceback.
    """
    try:
        status = main()
    except MinialexError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        sys.stderr.close()
        status = 1
    except KeyboardInterrupt:  # before the first step, after the last one, or the second Ctrl-C
        print("interrupted", file=sys.stderr)
        status = 130
    except Exception as error:
        if is_out_of_memory(error):
            line = "the memory of the GPU is full; use a smaller --batch-size, or a --memory-limit"
        elif isinstance(error, MemoryError):
            line = "out of memory; use a smaller --batch-size"
        else:
            raise
        print(f"error: {line}", file=sys.stderr)
        status = 2
    sys.exit(status)


def training_parser() -> argparse.ArgumentParser:
    """The options of a training run, named like the fields of `Config`.

    Only those that are given appear in the result, so that a recipe can fill in the others.
    """
    parser = argparse.ArgumentParser(
        description="Train AlexNet on drawings (the default) or photos of cats and dogs.",
        argument_default=argparse.SUPPRESS,
    )
    add = parser.add_argument
    add(
        "--data", help="drawings (default), pets, or a folder with train/<class>/ and test/<class>/"
    )
    add(
        "--recipe",
        help="defaults of the options below: drawings, modern (default for photos) or paper;"
        " see recipes.py",
    )
    add("--device", help="cpu, gpu or auto (default)")
    add("--variant", help="2012, ungrouped or owt (default: the recipe's, as for all that follow)")
    add(
        "--lrn",
        action=argparse.BooleanOptionalAction,
        help="local response normalisation (default: the variant's)",
    )
    add("--width", type=float, help="scale the number of filters and hidden units (default 1)")
    add(
        "--image-size",
        type=int,
        help="side of the image in pixels (default: the variant's, 227 or 224)",
    )
    add("--dropout", type=float, help="share of hidden units dropped in training (default 0.5)")
    add("--init", help="initial weights: he, glorot (for tanh and sigmoid) or paper")
    add("--activation", help="relu (default), tanh or sigmoid")
    add(
        "--pooling",
        help="max (3x3 at stride 2, default), average (of the same windows) or max2 (2x2)",
    )
    add("--batch-size", type=int, help="images per step")
    add("--epochs", type=int, help="passes over the training images")
    add("--lr", type=float, help="learning rate")
    add("--optimizer", help="adam, adamw or sgd")
    add("--schedule", help="cosine, step, plateau or constant")
    add("--warm-up", type=int, help="steps of rising learning rate, at most a tenth of all")
    add(
        "--patience",
        type=int,
        help="epochs without a new best before --schedule plateau divides the rate by 10",
    )
    add("--weight-decay", type=float)
    add("--label-smoothing", type=float)
    add("--augment", help=f"{', '.join(AUGMENTATIONS)}")
    add(
        "--crop-scale", type=float, help="smallest part of a photo's area that --augment full crops"
    )
    add(
        "--colour-shift",
        type=float,
        help="strength of the random colours of the paper; 0.1 there, 0 for none",
    )
    add(
        "--normalize",
        help="imagenet (its mean and deviation) or mean (subtract the training photos')",
    )
    add("--ten-crop", action="store_true", help="test on ten crops of each image as well")
    add("--seed", type=int, help="default 0")
    add("--workers", type=int, help="threads that load images (default 2)")
    add("--log-interval", type=int, help="steps between updates of the shown loss (default 20)")
    add("--limit", type=int, help="the most images to use of each part")
    add(
        "--cache",
        action=argparse.BooleanOptionalAction,
        help="keep decoded images on the disk (default: yes)",
    )
    add(
        "--algorithm",
        help="of convolutions: im2col, winograd, or auto, the faster one (default; a GPU: im2col)",
    )
    add(
        "--plain",
        action=argparse.BooleanOptionalAction,
        help="run the pages as they stand, without their fast twins: many times slower",
    )
    add(
        "--memory-limit",
        type=parse_bytes,
        help="memory of a training step, like 2GB; the batch is split to fit",
    )
    add("--threads", type=int, help="cores to use (default: all)")
    add(
        "--tf32",
        action=argparse.BooleanOptionalAction,
        help="matrix products with 10 bits of precision on a GPU since 2020: faster, less exact"
        " (default: no)",
    )
    add("--out", type=Path, help="run folder (default runs/<data>-<variant>-<number>)")
    add("--resume", type=Path, metavar="RUN", help="go on with the run in this folder")
    return parser


def train(arguments: dict[str, Any]) -> int:
    """A training run from the options of `training_parser`.

    Returns 0 when it is finished, 130 when it was stopped by Ctrl-C.
    """
    arguments = dict(arguments)
    out, resume = arguments.pop("out", None), arguments.pop("resume", None)
    if arguments.get("plain") and "algorithm" in arguments:
        raise ConfigError("--plain has no --algorithm to choose; leave one of them out")
    if resume is None:
        config = configure(arguments)
    else:
        run, config = RunFolder.open(resume)
        fixed = arguments.keys() - MAY_CHANGE | ({"out"} if out else set())
        if fixed:
            raise ConfigError(
                f"--{min(fixed).replace('_', '-')} cannot be changed when a run is resumed;"
                " leave it out"
            )
        config = dataclasses.replace(config, **arguments)
        if run.result_file.exists():
            print(f"{resume} is finished: {run.result_file.read_text(encoding='utf-8').strip()}")
            return 0

    if config.threads:
        limit_threads(min(config.threads, cpu_count()))
    if config.tf32:
        allow_tf32()
    device, chosen = choose_device(config.device)
    print(chosen)
    if config.tf32 and device == "cpu":
        print("--tf32 is for GPUs; on the CPU products are exact to float32")
    source = open_source(config.data, seed=config.seed, limit=config.limit)
    for line in (source.description, *source.messages):
        print(line)
    if resume is None:
        run = RunFolder(out or free_path(config))
    trainer = Trainer(config, source, run, device, report=report, bar=progress_bar(config))
    if resume is None:
        RunFolder.create(run.path, trainer.config)  # only now, when all options are known to work
    else:
        trainer.resume()
    print(f"run folder: {run.path}", flush=True)

    if config.cache and trainer.epochs - trainer.epoch > 1:
        print(keep_decoded((trainer.train_loader, trainer.val_loader), run.path), flush=True)
    with stop_on_signal(trainer), warnings.catch_warnings():
        # Where numbers overflow, the trainer says more in its one line than NumPy in many.
        warnings.filterwarnings("ignore", "overflow|invalid value|divide by zero", RuntimeWarning)
        finished = trainer.fit()
    if not finished:
        print(f"stopped; continue with: python examples/train_catdog.py --resume {run.path}")
        return 130
    # Before result.json, which marks a run as finished: else a crash could leave it without curves.
    draw_curves(trainer.history, run.path / "curves.png")
    result = trainer.test()
    print(
        f"test accuracy {result['test_acc']:.1%}, loss {result['test_loss']:.4f}"
        f" (weights of epoch {result['best_epoch']})"
    )
    if "ten_crop_acc" in result:
        print(
            f"with ten crops: accuracy {result['ten_crop_acc']:.1%},"
            f" loss {result['ten_crop_loss']:.4f}"
        )
    print(f"trained in {result['seconds']:.0f} s, {result['images_per_s']:.1f} images/s")
    return 0


def draw_curves(history: list[dict[str, float]], path: Path) -> None:
    """curves.png, where matplotlib is installed."""
    try:
        plot_curves({"": history}, path)
    except ImportError:
        print("no curves.png: matplotlib is not installed (pip install 'minialex[plot]')")
    except OSError as error:
        print(f"no curves.png: {error}")


def report(line: str) -> None:
    """Print a line that stays, above the progress bar if there is one."""
    tqdm.write(line)
    sys.stdout.flush()


class LogLines:
    """What a tqdm bar shows, as lines for a log file."""

    def __init__(self, name: str, images: int, done: int):
        self.name, self.images, self.first, self.done = name, images, done, done
        self.started = time.perf_counter()

    def update(self, n: int) -> None:
        """n more images are done."""
        self.done += n

    def set_postfix(self, **values: str) -> None:
        """Print a line with these values."""
        rate = (self.done - self.first) / (time.perf_counter() - self.started)
        left = (self.images - self.done) / rate
        shown = "  ".join(f"{name} {value}" for name, value in values.items())
        report(
            f"  {self.name}: {self.done:,}/{self.images:,}  {shown}"
            f"  {rate:.1f} images/s  {left:.0f} s left"
        )

    def close(self) -> None:
        """Nothing to do: lines stay."""


def progress_bar(config: Config) -> Callable[[int, int, int], Any]:
    """A tqdm bar per epoch on a terminal; in a log file, a line every `log_interval` steps."""

    def bar(epoch: int, images: int, done: int) -> Any:
        name = f"epoch {epoch + 1}/{config.epochs}"
        if not sys.stderr.isatty():
            return LogLines(name, images, done)
        return tqdm(
            desc=name, total=images, initial=done, unit="img", leave=False, dynamic_ncols=True
        )

    return bar


@contextlib.contextmanager
def stop_on_signal(trainer: Trainer) -> Iterator[None]:
    """Ctrl-C ends the run after the current step, with a checkpoint; a second one, at once."""

    def stop(number: int, frame: Any) -> None:
        if trainer.stop:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt
        trainer.stop = True
        with contextlib.suppress(RuntimeError):  # the signal came in the middle of another print
            tqdm.write("stopping after this step (Ctrl-C again: at once, without a checkpoint)")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
