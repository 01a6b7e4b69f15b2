"""The fifth improvement: the same training step on a CPU and on a GPU.

The paper's network trained for five to six days on two GPUs, whose 3 GB of memory each were its
limit (sections 1 and 3.2).  How long would it have taken without them?
"""

import time
from typing import Any

import numpy as np

from minialex.data import Source
from minialex.errors import DeviceError
from minialex.gpu.devices import choose_device
from minialex.train.config import Config
from minialex.train.loop import Training
from minialex.train.recipes import make_optimizer
from minialex.train.screen import Silent
from minialex.train.setup import fit_options, make_loaders, make_model
from minialex.xp import to_device
from paired import paired
from runs import Pixels


def step_seconds(device: str, steps: int, config: Config) -> list[float]:
    """Seconds of each of `steps` training steps with the settings `config`.

    The first step warms up, and is not counted.  Images of noise are on the device already; a step
    ends when its new weights are there.
    """
    rng = np.random.default_rng(config.seed)
    noise = Pixels(rng.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8), np.arange(2), ["cat", "dog"])
    source = Source(noise, noise, noise, noise.classes, "noise")
    model = make_model(config, 2)
    loader, _, _ = make_loaders(config, source, model)
    optimizer = make_optimizer(config.optimizer, model, config.lr, config.weight_decay)
    options = {**fit_options(config), "device": device, "log_interval": steps + 1}
    run = Training(model, loader, optimizer, screen=Silent(), **options)
    shape = (config.batch_size, *model.input_shape)
    x = to_device(rng.standard_normal(shape, dtype=np.float32), device)
    labels = to_device(rng.integers(0, 2, config.batch_size), device)
    seconds = []
    for _ in range(steps + 1):
        began = time.perf_counter()
        run.step(x, labels)
        float(optimizer.theta[0])  # waits for the device
        seconds.append(time.perf_counter() - began)
    return seconds[1:]


def compare_devices(config: Config, steps: int = 5) -> dict[str, Any]:
    """{"cpu": seconds, "gpu": seconds, "mean", "error", "verdict", "line"}.

    Without a GPU, only the last two.
    """
    try:
        _, chosen = choose_device("gpu")
    except DeviceError as error:
        line = f"gpu: not measured, for want of a GPU ({error})"
        return {"verdict": "not measured", "line": line}
    cpu, gpu = (step_seconds(device, steps, config) for device in ("cpu", "gpu"))
    result = paired([a - b for a, b in zip(cpu, gpu, strict=True)])
    line = (
        f"gpu: a training step took {np.mean(cpu):.3f} s on the CPU and {np.mean(gpu):.3f} s"
        f" on the GPU, {np.mean(cpu) / np.mean(gpu):.1f} times less: {result.verdict} ({chosen})"
    )
    numbers = {"mean": result.mean, "error": result.error, "verdict": result.verdict}
    return {"cpu": cpu, "gpu": gpu, **numbers, "line": line}
