"""How fast minialex is on this machine, alone, against PyTorch, or against another checkout.

    python benchmarks/benchmark.py                   minialex alone: a training step and inference
    python benchmarks/benchmark.py --against torch   beside PyTorch, whose best settings count
    python benchmarks/benchmark.py --against PATH    this checkout of minialex beside another
    python benchmarks/benchmark.py --layers          what bounds each layer: products or memory
    python benchmarks/benchmark.py --scaling         time and memory as batch and images grow
    python benchmarks/benchmark.py --device gpu      a training step on a GPU (--against torch, too)

All that is compared runs in processes of its own, which take turns of half a second, or of a step
where that is longer.  Numbers are medians.
"""

import argparse
import importlib.util
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench_children import BenchmarkError, Contender, in_turn, ours, running
from bench_gpu import compare_on_gpu
from bench_layers import layer_rows, layer_table
from bench_machine import Speeds, description, measure
from bench_rows import CASE, Row, check_file, result_lines, save, summary, title
from bench_scaling import all_series, draw, scaling, scaling_table
from bench_trees import PAIRS, check_imports, problem, tree_comparison, tree_contenders, tree_table
from minialex.commands.main import run_main
from minialex.errors import ConfigError
from minialex.fast.threads import cpu_count
from minialex.models.alexnet import VARIANTS
from minialex.train.memory import parse_bytes

TORCH_SETTINGS = {
    "train": {
        "default Adam": {"channels_last": False, "fused": False},
        "fused Adam": {"channels_last": False, "fused": True},
        "channels-last": {"channels_last": True, "fused": False},
        "channels-last, fused Adam": {"channels_last": True, "fused": True},
    },
    "inference": {"default": {"channels_last": False}, "channels-last": {"channels_last": True}},
}


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--against",
        metavar="torch|PATH",
        help="compare with PyTorch (eager, float32), or with the checkout of minialex in PATH",
    )
    add("--torch-python", metavar="PATH", help="a Python that has PyTorch (default: this one)")
    add(
        "--variant",
        choices=["2012", "ungrouped", "owt", "vgg"],
        default="ungrouped",
        help="of AlexNet (default ungrouped), or vgg: eight 3x3 convolutions on 64x64 images",
    )
    add(
        "--batch-size",
        type=int,
        nargs="+",
        help="images per step (default 32, beside another checkout 32 and 128; inference 1 and 32)",
    )
    add(
        "--lrn",
        action=argparse.BooleanOptionalAction,
        help="local response normalization (default: the variant's)",
    )
    add("--image-size", type=int, help="side of the image in pixels (default: the variant's)")
    add("--phase", nargs="+", choices=["train", "inference"], default=["train", "inference"])
    add(
        "--rounds",
        type=int,
        help=f"turns of each process, half a second or a step long (default 5, PATH {PAIRS})",
    )
    add(
        "--memory-limit",
        type=parse_bytes,
        help="split minialex's batch to fit into so much memory, like 1GB",
    )
    add("--threads", type=int, help="use so many cores (default all)")
    add("--device", choices=["cpu", "gpu"], default="cpu", help="default cpu")
    add("--quick", action="store_true", help="with --device gpu: 50 s in place of 200")
    add("--width", type=float, default=1.0, help="with --device gpu: scale the network")
    add("--layers", action="store_true", help="time each layer of a training step instead")
    add("--scaling", action="store_true", help="show how time and memory grow instead")
    add(
        "--minutes",
        type=float,
        default=10,
        help="with --scaling: leave out what takes longer (default 10)",
    )
    add("--png", type=Path, help="with --scaling: draw it into this file (needs matplotlib)")
    add("--json", type=Path, help="write the rows of the tables to this file")
    return parser


def check(options: argparse.Namespace) -> Row:
    """The settings that all processes share.  Raises ConfigError for options that cannot work."""
    other = options.against not in (None, "torch")
    if options.rounds is None:
        options.rounds = PAIRS if other else 5
    if options.rounds < 1 or min(options.batch_size or [1]) < 1 or options.minutes <= 0:
        raise ConfigError("--rounds and --batch-size must be at least 1, and --minutes above 0")
    if options.threads is not None and not 1 <= options.threads <= cpu_count():
        raise ConfigError(f"--threads must be from 1 to {cpu_count()}, the cores of this machine")
    if options.quick or options.width != 1:
        raise ConfigError("--quick and --width are for --device gpu; add it")
    if options.layers and options.scaling:
        raise ConfigError("--layers and --scaling are two measurements; choose one")
    if options.against is not None and (options.layers or options.scaling):
        raise ConfigError("--layers and --scaling measure minialex alone; leave out --against")
    if options.torch_python and options.against != "torch":
        advice = "leave it out" if other else "add it"
        raise ConfigError(f"--torch-python is for --against torch; {advice}")
    if other and (line := problem(options.against)):
        raise ConfigError(line)
    if options.png and importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("--png needs matplotlib: pip install 'minialex[plot]'")
    if options.png and not options.png.parent.is_dir():
        raise ConfigError(f"--png: there is no folder {str(options.png.parent)!r}")
    if options.variant == "vgg" and options.lrn:
        raise ConfigError("the vgg network has no local response normalization; leave out --lrn")
    *_, lrn, side = VARIANTS.get(options.variant, (False, 64))
    return {
        "variant": options.variant, "lrn": lrn if options.lrn is None else options.lrn,
        "image_size": side if options.image_size is None else options.image_size,
        "threads": options.threads, "memory_limit": options.memory_limit,
    }  # fmt: skip


def torch_version(python: str) -> str:
    """The version of PyTorch that `python` has.  Raises BenchmarkError where it has none."""
    code = (
        "import torch;"
        " print(f'PyTorch {torch.__version__} ({torch.get_num_threads()} threads by default)')"
    )
    advice = "name a Python that has it with --torch-python PATH, or install it: pip install torch"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True)
    except OSError as error:
        raise BenchmarkError(f"--torch-python: {error.strerror}: {python!r}") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise BenchmarkError(f"{python!r} cannot import PyTorch ({reason}); {advice}")
    return done.stdout.strip()


def contenders(settings: Row, torch_python: str | None) -> list[Contender]:
    """minialex, and each setting of PyTorch."""
    others = TORCH_SETTINGS[settings["phase"]] if torch_python else {}
    return [ours(settings)] + [
        Contender(f"PyTorch, {name}", str(torch_python), "bench_torch.py", settings | setting)
        for name, setting in others.items()
    ]


def comparison(settings: Row, steps: dict[str, list[Row]]) -> Row:
    """The row of one phase and batch size; `steps` holds the steps of each process by its name."""
    results = {name: summary(own, settings["batch_size"]) for name, own in steps.items()}
    ours, torch = results.pop("minialex"), results
    best = min(torch, key=lambda name: torch[name]["s"]) if torch else None
    return {key: settings[key] for key in CASE} | {
        "rounds": len(steps["minialex"]),
        "ours_s": ours["s"], "ours_rss_mb": ours["rss_mb"], "ours": ours,
        "torch_best_s": torch[best]["s"] if best else None,
        "torch_rss_mb": torch[best]["rss_mb"] if best else None,
        "ratio": ours["s"] / torch[best]["s"] if best else None,
        "torch_best": best, "torch": torch,
    }  # fmt: skip


def table(row: Row) -> str:
    """A row of `comparison` as lines: one per process, and the verdict."""
    lines = result_lines({"minialex": row["ours"], **row["torch"]}, row["phase"])
    if row["torch"]:
        lines.append(
            f"minialex / {row['torch_best']}: time {row['ratio']:.2f},"
            f" memory {row['ours_rss_mb'] / row['torch_rss_mb']:.2f}"
        )
    return "\n".join(lines)


def cases(options: argparse.Namespace, settings: Row) -> Iterator[Row]:
    """Each phase and batch size asked for, with the title of its table printed."""
    train = [32] if options.against in (None, "torch") else [32, 128]
    for phase in options.phase:
        for batch_size in options.batch_size or (train if phase == "train" else [1, 32]):
            case = settings | {"phase": phase, "batch_size": batch_size}
            print(title(case, options.rounds), flush=True)
            yield case


def compare(
    options: argparse.Namespace, settings: Row, torch_python: str | None, rows: list[Row]
) -> None:
    """Measure and print each case, minialex alone or beside PyTorch; adds to `rows`."""
    for case in cases(options, settings):
        chosen = contenders(case, torch_python)
        with running(chosen) as children:
            steps = in_turn(children, options.rounds)
        names = [contender.name for contender in chosen]
        rows.append(comparison(case, dict(zip(names, steps, strict=True))))
        print(table(rows[-1]), flush=True)


def compare_trees(options: argparse.Namespace, settings: Row, rows: list[Row]) -> None:
    """Measure and print each case, in this checkout and in another; adds to `rows`."""
    for case in cases(options, settings):
        with running(tree_contenders(case, options.against)) as children:
            steps = in_turn(children, options.rounds, swap=True)
        rows.append(tree_comparison(case, steps, options.against))
        print(tree_table(rows[-1]), flush=True)


def time_layers(options: argparse.Namespace, settings: Row, speeds: Speeds) -> list[Row]:
    """Time and print the layers of a training step, for each batch size asked for."""
    rows = []
    for batch_size in options.batch_size or [32]:
        case = settings | {"phase": "train", "batch_size": batch_size, "layers": True}
        print(title(case, options.rounds), flush=True)
        with running([ours(case)]) as (child,):
            (steps,) = in_turn([child], options.rounds)
        own = layer_rows(child.about, steps, batch_size, speeds)
        print(layer_table(own), flush=True)
        rows += own
    return rows


def main() -> int:
    options = parser().parse_args()
    # As an exception, so that all processes are ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if options.device == "gpu":
        return compare_on_gpu(options)
    settings = check(options)
    check_file(options.json)  # now, not after all the work
    torch = options.against == "torch"
    trees = [] if torch or options.against is None else tree_contenders(settings, options.against)
    check_imports(trees)
    torch_python = (options.torch_python or sys.executable) if torch else None
    print(description(torch_version(torch_python) if torch_python else None))
    for tree in trees:
        print(f"{tree.name.removesuffix(' tree'):<10}{tree.root}")
    speeds = measure(options.threads)
    print(speeds, flush=True)
    rows: list[Row] = []
    try:
        if options.scaling:
            seconds = options.minutes * 60
            results = scaling(all_series(settings, options.phase), options.rounds, seconds)
            print(scaling_table(results))
            if options.png:
                draw(results, options.png)
            rows += [row for done in results for row in done]
        elif options.layers:
            rows += time_layers(options, settings, speeds)
        elif trees:
            compare_trees(options, settings, rows)
        else:
            compare(options, settings, torch_python, rows)
    finally:
        save(rows, options.json)  # those before a case that failed, too
    return 0


if __name__ == "__main__":
    run_main(main)
