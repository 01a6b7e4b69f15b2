"""The benchmark on a GPU: a training step of minialex beside PyTorch's, in one run, in turn.

Both are given their best: PyTorch has fused Adam, cuDNN's fastest ways, and two layouts of its
memory, of which the faster one counts.  Each precision is compared with the same: "float32", where
each product is one of float32, and "tf32", where both round what they multiply to 10 bits.

Then come the layers of minialex beside the roofline, and the kernels of both by time.  All of it
takes at most BUDGET seconds on an H100; what no longer fits is left out, and said to be.
"""

import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence

from bench_children import HERE, BenchmarkError, Child, Contender, run_through
from bench_gpu_layers import layer_table
from bench_rows import Row, check_file, save
from minialex.errors import ConfigError
from minialex.gpu.devices import choose_device
from minialex.models.alexnet import VARIANTS

BUDGET, QUICK_BUDGET = 200, 50  # seconds
BATCHES, QUICK_BATCHES = (128, 32, 512), (128,)
ROUNDS, QUICK_ROUNDS = 3, 2
PRECISIONS = ("float32", "tf32")
LAYOUTS = {"PyTorch, plain": False, "PyTorch, channels-last": True}
TURN = 0.25  # seconds of single steps, and about as many back to back
# Seconds that a batch size, one above 128, and a table of kernels take: seen on an H100.
FOR_CASE, FOR_LARGE, FOR_KERNELS = 18, 45, 20
KERNEL_OPTIONS = ("variant", "batch_size", "image_size", "width")

FOR_CPU = {  # options that the GPU does not know
    "memory_limit": None, "threads": None, "layers": False, "scaling": False, "png": None,
    "minutes": 10, "phase": ["train", "inference"],
}  # fmt: skip


class Clock:
    """How much of the budget is left."""

    def __init__(self, seconds: float):
        self.end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds."""
        return self.end - time.monotonic()

    def over(self, what: str, needed: float = 0) -> bool:
        """Whether less than `needed` seconds are left; says then that `what` is left out."""
        if self.left() >= needed:
            return False
        print(f"\n{what}: left out, the time is over", flush=True)
        return True


def settings(options: Namespace) -> Row:
    """The settings that all processes share.  Raises ConfigError for options that cannot work."""
    for name, default in FOR_CPU.items():
        if getattr(options, name) != default:
            flag = name.replace("_", "-")
            raise ConfigError(f"--{flag} is for the CPU; leave it out, or leave out --device gpu")
    if options.against not in (None, "torch"):
        raise ConfigError("--device gpu compares with torch only; use --against torch")
    if options.torch_python and not options.against:
        raise ConfigError("--torch-python is for --against torch; add it")
    if options.variant not in VARIANTS:
        raise ConfigError(f"--device gpu measures AlexNet; choose {', '.join(VARIANTS)}")
    if min([*(options.batch_size or [1]), 1 if options.rounds is None else options.rounds]) < 1:
        raise ConfigError("--rounds and --batch-size must be at least 1")
    if not 0 < options.width <= 4:
        raise ConfigError(f"--width must be above 0 and at most 4, got {options.width}")
    *_, lrn, side = VARIANTS[options.variant]
    return {
        "variant": options.variant, "lrn": lrn if options.lrn is None else options.lrn,
        "image_size": side if options.image_size is None else options.image_size,
        "width": options.width,
    }  # fmt: skip


def contenders(shared: Row, torch_python: str | None) -> list[Contender]:
    """minialex in each precision, and each layout of PyTorch."""
    ours = [
        Contender(
            f"minialex, {precision}", sys.executable, "bench_gpu_ours.py",
            shared | {"precision": precision}, through=run_through(),
        )
        for precision in PRECISIONS
    ]  # fmt: skip
    layouts = LAYOUTS if torch_python else {}
    return ours + [
        Contender(name, str(torch_python), "bench_gpu_torch.py", shared | {"channels_last": last})
        for name, last in layouts.items()
    ]


@contextlib.contextmanager
def started(chosen: list[Contender]) -> Iterator[dict[str, Child]]:
    """The processes by name, started all at once and ended when the block is left.

    Without those of PyTorch where they cannot run; then a line says why.
    """
    children: dict[str, Child] = {}
    try:
        for contender in chosen:
            if shutil.which(contender.python) is None:
                raise BenchmarkError(f"--torch-python: there is no program {contender.python!r}")
            children[contender.name] = Child(contender)
        for name, child in list(children.items()):
            try:
                child.about = child.answer()
            except BenchmarkError as error:
                if name not in LAYOUTS:
                    raise
                print(f"NOT MEASURED: {error}")
                children.pop(name).end()
        yield children
    finally:
        for child in children.values():
            child.end()


def ask(child: Child, do: str, **arguments: object) -> Row:
    """What a worker answers to a request."""
    return child.step(json.dumps({"do": do, **arguments}))


def measure(children: dict[str, Child], case: Row, rounds: int) -> dict[str, Row]:
    """The medians of each process that takes part in this case, over its turns."""
    ours = f"minialex, {case['precision']}"
    chosen = {name: child for name, child in children.items() if name == ours or name in LAYOUTS}
    batch = {key: case[key] for key in ("batch_size", "precision")}
    results = {name: ask(child, "prepare", **batch) for name, child in chosen.items()}
    turns: dict[str, list[Row]] = {name: [] for name in chosen}
    for _ in range(rounds):
        for name, child in chosen.items():
            turns[name].append(ask(child, "turn", seconds=TURN))
    for name, own in turns.items():
        results[name] |= {key: statistics.median(turn[key] for turn in own) for key in own[0]}
    return {"minialex": results.pop(ours), **results}


def comparison(case: Row, results: dict[str, Row]) -> Row:
    """The row of one precision and batch size; the faster layout back to back is compared with."""
    ours, torch = results["minialex"], {name: results[name] for name in LAYOUTS if name in results}
    best = min(torch, key=lambda name: torch[name]["loop_ms"]) if torch else None
    row = case | {"ours": ours, "torch": torch, "torch_best": best}
    for key in ("loop_ms", "ms", "peak_mb"):
        both = ours[key], torch[best][key] if best else None
        row[f"ratio_{key}"] = both[0] / both[1] if all(both) else None
    return row


def description(children: dict[str, Child]) -> str:
    """What each framework runs on."""
    abouts = [child.about for child in children.values()]
    lines = dict.fromkeys(f"{about['device']}: {about['software']}" for about in abouts)
    return "\n".join(lines)  # each once


def title(case: Row, rounds: int) -> str:
    """What a table is about."""
    lrn = ", LRN" if case["lrn"] else ""
    width = f", width {case['width']:g}" if case["width"] != 1 else ""
    return (
        f"\ntraining step on a GPU: {case['variant']}{lrn}{width}, {case['image_size']} px,"
        f" batch {case['batch_size']}, {case['precision']}, {rounds} rounds"
    )


def table(row: Row) -> str:
    """A row of `comparison` as lines: one per process, and the verdict."""
    lines = [
        f"{'milliseconds per step':<28}{'back to back':>14}{'one alone':>11}{'host':>8}"
        f"{'images/s':>10}{'peak MB':>10}"
    ]
    for name, r in {"minialex": row["ours"], **row["torch"]}.items():
        peak = f"{r['peak_mb']:10,.0f}" if r["peak_mb"] else f"{'-':>10}"
        speed = 1e3 * row["batch_size"] / r["loop_ms"]
        times = f"{r['loop_ms']:14.2f}{r['ms']:11.2f}{r['host_ms']:8.2f}"
        lines.append(f"{name:<28}{times}{speed:10,.0f}{peak}")
    if row["torch_best"]:
        ratio = row["ratio_peak_mb"]
        lines.append(
            f"minialex / {row['torch_best']}: back to back {row['ratio_loop_ms']:.2f},"
            f" one alone {row['ratio_ms']:.2f}" + (f", memory {ratio:.2f}" if ratio else "")
        )
    return "\n".join(lines)


def show_layers(children: dict[str, Child], case: Row, rows: list[Row], clock: Clock) -> None:
    """Measure and print the layers of minialex beside the roofline; adds to `rows`."""
    for precision in PRECISIONS:
        if clock.over(f"layers, {precision}", 1):
            continue
        child = children[f"minialex, {precision}"]
        ask(child, "prepare", batch_size=case["batch_size"], precision=precision)
        layers = ask(child, "layers", seconds=TURN)["rows"]
        rows.append(case | {"precision": precision, "layers": layers})
        print(f"\nlayers of minialex, {precision}, batch {case['batch_size']}")
        print(layer_table(layers), flush=True)


def show_kernels(case: Row, row: Row | None, torch_python: str, clock: Clock) -> None:
    """Print the kernels of both by time, PyTorch's in the layout that was faster in `row`."""
    best = row.get("torch_best") if row else None
    flags = [f"--{key.replace('_', '-')}={case[key]}" for key in KERNEL_OPTIONS]
    flags += ["--lrn" if case["lrn"] else "--no-lrn"]
    flags += ["--tf32"] if case["precision"] == "tf32" else []
    flags += ["--channels-last"] if best and LAYOUTS[best] else []
    for of in ("minialex", "torch") if best else ("minialex",):
        if clock.over(f"kernels of {of}, {case['precision']}", FOR_KERNELS):
            continue
        python = [sys.executable, *run_through()] if of == "minialex" else [torch_python]
        command = [*python, str(HERE / "kernel_times.py"), f"--of={of}", *flags]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=clock.left())
        except subprocess.TimeoutExpired:
            clock.over(f"kernels of {of}, {case['precision']}", FOR_KERNELS)
            continue
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        print("\n" + (said[-1] if done.returncode else done.stdout.rstrip()), flush=True)


def compare_on_gpu(options: Namespace) -> int:
    """Measure and print all.  Raises ConfigError, DeviceError, BenchmarkError."""
    shared, clock = settings(options), Clock(QUICK_BUDGET if options.quick else BUDGET)
    check_file(options.json)  # now, not after all the work
    choose_device("gpu")  # the processes could say less well what is wrong
    torch_python = (options.torch_python or sys.executable) if options.against else None
    batches = options.batch_size or (QUICK_BATCHES if options.quick else BATCHES)
    first = shared | {"batch_size": batches[0]}
    rows: list[Row] = []
    try:
        with started(contenders(shared, torch_python)) as children:
            print(description(children))
            if torch_python and not children.keys() & LAYOUTS.keys():
                print("minialex alone is measured, since PyTorch has no GPU here")
            compare(children, shared, options, batches[:1], rows, clock)
            show_layers(children, first, rows, clock)
            compare(children, shared, options, batches[1:], rows, clock)
        for precision in () if options.quick else PRECISIONS:
            own = first | {"precision": precision}
            row = next((r for r in rows if r.items() >= own.items()), None)
            show_kernels(own, row, str(torch_python), clock)
    finally:
        save(rows, options.json)  # those before a case that failed, too
    return 0


def compare(
    children: dict[str, Child], shared: Row, options: Namespace, batches: Sequence[int],
    rows: list[Row], clock: Clock,
) -> None:  # fmt: skip
    """Measure and print each batch size in each precision; adds to `rows`."""
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    for batch_size in batches:
        for precision in PRECISIONS:
            case = shared | {"batch_size": batch_size, "precision": precision}
            needed = FOR_CASE if batch_size <= 128 else FOR_LARGE
            if rows and clock.over(f"batch {batch_size}, {precision}", needed):
                continue
            print(title(case, rounds), flush=True)
            rows.append(comparison(case, measure(children, case, rounds)))
            print(table(rows[-1]), flush=True)
