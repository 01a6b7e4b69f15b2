"""The kernels of a training step on a GPU, by time: minialex's or PyTorch's.

    python benchmarks/kernel_times.py                               minialex, batch 128, float32
    python benchmarks/kernel_times.py --of torch --channels-last    PyTorch

PyTorch's profiler records them, by NVIDIA's CUPTI, whoever launches them; so it needs PyTorch, even
for the kernels of minialex.
"""

import argparse
import collections
import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any

STEPS = 10
SHOWN = 25
NAME = 72  # letters of a kernel's name that are shown


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--of", choices=["minialex", "torch"], default="minialex", help="default minialex")
    add("--variant", default="ungrouped", help="2012, ungrouped (default) or owt")
    add("--lrn", action=argparse.BooleanOptionalAction, help="default: as the variant has it")
    add("--batch-size", type=int, default=128, help="images per step (default 128)")
    add("--image-size", type=int, help="side of the image in pixels (default: the variant's)")
    add("--width", type=float, default=1.0, help="scale the network (default 1)")
    add("--tf32", action="store_true", help="round what products multiply to 10 bits")
    add("--channels-last", action="store_true", help="PyTorch's other layout of its memory")
    add("--json", type=Path, help="write the kernels to this file")
    return parser


def profiled(step: Any, torch: Any) -> list[dict[str, Any]]:
    """The kernels and copies of a step, the longest first: name, ms and launches in a step."""
    milliseconds: dict[str, float] = collections.defaultdict(float)
    launches: dict[str, int] = collections.Counter()
    profiler: Any = importlib.import_module("torch.profiler")
    with profiler.profile(activities=[profiler.ProfilerActivity.CUDA]) as record:
        for _ in range(STEPS):
            step()
        torch.cuda.synchronize()
    for event in record.events():
        if event.device_time > 0:  # what ran on the GPU, not the calls that asked for it
            milliseconds[event.name] += event.device_time / 1e3
            launches[event.name] += 1
    names = sorted(milliseconds, key=milliseconds.__getitem__, reverse=True)
    return [
        {"name": name, "ms": milliseconds[name] / STEPS, "launches": launches[name] / STEPS}
        for name in names
    ]


def table(kernels: list[dict[str, Any]]) -> str:
    """The kernels as lines, below their sum."""
    total = sum(kernel["ms"] for kernel in kernels)
    count = sum(kernel["launches"] for kernel in kernels)
    lines = [f"{total:.2f} ms on the GPU and {count:.0f} launches in a step"]
    lines.append(f"{'ms':>9}{'share':>8}{'launches':>10}{'us each':>10}  kernel")
    for kernel in kernels[:SHOWN]:
        ms, launched = kernel["ms"], kernel["launches"]
        numbers = f"{ms:9.3f}{ms / total:8.1%}{launched:10.1f}{1e3 * ms / launched:10.1f}"
        lines.append(f"{numbers}  {kernel['name'][:NAME]}")
    if rest := kernels[SHOWN:]:
        lines.append(f"{sum(kernel['ms'] for kernel in rest):9.3f}  in {len(rest)} other kernels")
    return "\n".join(lines)


def worker(options: argparse.Namespace) -> Any:
    """minialex or PyTorch with its network on the GPU, warmed up."""
    precision = "tf32" if options.tf32 else "float32"
    lrn = options.variant == "2012" if options.lrn is None else options.lrn
    side = options.image_size or (224 if options.variant == "owt" else 227)
    settings = {
        "variant": options.variant, "lrn": lrn, "image_size": side,
        "width": options.width, "precision": precision, "channels_last": options.channels_last,
    }  # fmt: skip
    if options.of == "torch":
        made = importlib.import_module("bench_gpu_torch").Theirs(settings)
    else:
        made = importlib.import_module("bench_gpu_ours").Ours(settings)
    made.prepare(options.batch_size, precision)
    return made


def main() -> int:
    options = parser().parse_args()
    if importlib.util.find_spec("torch") is None:
        raise SystemExit("error: the kernels can be seen with PyTorch only: pip install torch")
    torch: Any = importlib.import_module("torch")
    if not torch.cuda.is_available():
        raise SystemExit("error: this PyTorch sees no GPU")
    torch.zeros(1, device="cuda")  # its CUDA comes first, then CuPy's
    kernels = profiled(worker(options).step, torch)
    precision = "TF32" if options.tf32 else "float32"
    print(f"kernels of {options.of}, {precision}, batch {options.batch_size}: ", end="")
    print(table(kernels))
    if options.json:
        options.json.write_text(json.dumps(kernels, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
