"""How fast a training step could be on a GPU, from arithmetic; and how fast it is, if there is one.

    python benchmarks/roofline.py                                 an H100, batch 128
    python benchmarks/roofline.py --tf32 --variant 2012           with its faster, rounder products
    python benchmarks/roofline.py --peak 82.6 --bandwidth 1008    another GPU: see its data sheet

`roofline_model.py` says what is counted.
"""

import argparse
import importlib
import statistics
import time

import numpy as np

from minialex.attach import accelerate, loss_function
from minialex.commands.main import run_main
from minialex.errors import ConfigError
from minialex.gpu.devices import allow_tf32
from minialex.gpu.diagnosis import gpu_problem
from minialex.models import AlexNet
from minialex.optim import Adam
from minialex.xp import to_device
from roofline_model import H100_TF32, Machine, table

STEPS = 10


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--variant", default="ungrouped", help="2012, ungrouped (default) or owt")
    add(
        "--lrn",
        action=argparse.BooleanOptionalAction,
        help="local response normalization (default: the variant's)",
    )
    add("--batch-size", type=int, default=128, help="images per step (default 128)")
    add("--classes", type=int, default=2, help="default 2, cats and dogs")
    add("--image-size", type=int, help="side of the image in pixels (default: the variant's)")
    add("--width", type=float, default=1.0, help="scale the network (default 1)")
    add("--peak", type=float, metavar="TFLOP/s", help="of the GPU in float32 (default 67, an H100)")
    add(
        "--bandwidth", type=float, metavar="GB/s", default=3350, help="of its memory (default 3350)"
    )
    add(
        "--algorithm", choices=("auto", "im2col"), default="auto",
        help="of convolutions (default auto: without im2col's matrix)",
    )  # fmt: skip
    add("--tf32", action="store_true", help="products in TF32, at 494.5 TFLOP/s or those of --peak")
    return parser


def measured_seconds(model: AlexNet, N: int, algorithm: str) -> float:
    """The median time of STEPS training steps on N images that are in the memory of the GPU."""
    synchronize = importlib.import_module("cupy").cuda.Device().synchronize
    model.to("gpu")
    adam = Adam(model)
    accelerate(model, adam, input_grad=False, algorithm=algorithm)
    loss = loss_function("gpu")
    rng = np.random.default_rng(0)
    x = to_device(rng.standard_normal((N, *model.input_shape), dtype=np.float32), "gpu")
    labels = to_device(np.arange(N) % 2, "gpu")
    times = []
    for _ in range(STEPS + 2):  # two to warm up
        synchronize()
        started = time.perf_counter()
        logits, cache = model.forward(x)
        _, dlogits = loss(logits, labels)
        model.backward(dlogits, cache, adam.grad)
        adam.step()
        synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times[2:])


def machine(options: argparse.Namespace) -> Machine:
    """The GPU that the options describe.  Raises ConfigError for speeds that cannot be."""
    for name in ("batch_size", "peak", "bandwidth"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise ConfigError(f"--{name.replace('_', '-')} must be above 0, got {value}")
    peak = 67.0 if options.peak is None else options.peak
    products = None
    if options.tf32:
        products = H100_TF32 if options.peak is None else options.peak * 1e12
    return Machine(peak * 1e12, options.bandwidth * 1e9, products)


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    gpu, N = machine(options), options.batch_size
    model = AlexNet(
        options.classes, options.variant, lrn=options.lrn, image_size=options.image_size,
        width=options.width,
    )  # fmt: skip
    batch = f"{N} images of {model.image_size} pixels"
    print(f"a training step of AlexNet ({options.variant}) on {batch}\n")
    implicit = 0 if options.algorithm == "im2col" else 1 if options.tf32 else 3
    print(table(model, N, gpu, implicit))
    if options.tf32:
        allow_tf32()  # before gpu_problem(), which makes the first product
    problem = gpu_problem()
    if problem:
        print(f"measured: nothing, {problem}")
    else:
        seconds = measured_seconds(model, N, options.algorithm)
        name = importlib.import_module("cupy").cuda.runtime.getDeviceProperties(0)["name"].decode()
        print(f"measured: {seconds * 1e3:.1f} ms, {N / seconds:,.0f} images/s on {name}")
    return 0


if __name__ == "__main__":
    run_main(main)
