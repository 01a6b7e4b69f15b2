"""minialex's process of the benchmark on a GPU (see bench_gpu_worker.py)."""

import os
from typing import Any

import cupy
import numpy as np

from bench_gpu_layers import layer_times
from bench_gpu_worker import WARM_UP, serve
from bench_ours import build
from bench_worker import CLASSES, LEARNING_RATE
from minialex.attach import accelerate, loss_function
from minialex.gpu.devices import allow_tf32, choose_device
from minialex.optim import Adam
from minialex.xp import Array, to_device

DIFFERENT = 32  # images; a larger batch repeats them


class CupyGpu:
    """Events of CuPy."""

    def mark(self) -> Any:
        """See bench_gpu_worker.Gpu, here and below."""
        event = cupy.cuda.Event()
        event.record()
        return event

    def milliseconds(self, start: Any, end: Any) -> float:
        """From one event to another."""
        end.synchronize()
        return cupy.cuda.get_elapsed_time(start, end)

    def wait(self) -> None:
        """Until all is done."""
        cupy.cuda.Device().synchronize()


class Peak(cupy.cuda.MemoryHook):
    """The most bytes in use while this is entered; counted by CuPy's memory pool."""

    name = "peak"

    def __init__(self) -> None:
        self.bytes = 0

    def malloc_postprocess(self, **_: Any) -> None:
        """CuPy calls this when it has handed out memory."""
        self.bytes = max(self.bytes, cupy.get_default_memory_pool().used_bytes())


def version(number: int) -> str:
    """Such as 13.2 of CUDA's 13020."""
    return f"{number // 1000}.{number % 1000 // 10}"


class Ours:
    """minialex's AlexNet on the GPU, as training runs it.

    CuPy asks once in a process how exactly it shall multiply, so a process has one precision, which
    is in the settings.  Raises DeviceError where no GPU works.
    """

    def __init__(self, settings: dict[str, Any]):
        self.tf32 = settings["precision"] == "tf32"
        os.environ.pop("CUPY_TF32", None)
        if self.tf32:
            allow_tf32()  # before the first product
        choose_device("gpu")
        self.gpu = CupyGpu()
        model, _ = build(settings)
        self.model: Any = model.to("gpu")
        self.adam = Adam(self.model, lr=LEARNING_RATE)
        accelerate(self.model, self.adam, input_grad=False)
        self.loss = loss_function("gpu")
        self.x: Array = None
        self.labels: Array = None
        runtime = cupy.cuda.runtime
        driver, cuda = runtime.driverGetVersion(), runtime.runtimeGetVersion()
        self.about = {
            "device": runtime.getDeviceProperties(0)["name"].decode(),
            "software": f"CuPy {cupy.__version__}, CUDA {version(cuda)}, a driver for CUDA"
            f" {version(driver)}, NumPy {np.__version__}",
        }

    def prepare(self, batch_size: int, precision: str) -> dict[str, Any]:
        """Make the data, warm up, and measure the memory of a step."""
        assert (precision == "tf32") == self.tf32
        rng, shape = np.random.default_rng(1), self.model.input_shape
        few = rng.standard_normal((min(batch_size, DIFFERENT), *shape), dtype=np.float32)
        self.x = None  # so that two batches are never there at once
        self.x = to_device(np.resize(few, (batch_size, *shape)), "gpu")
        self.labels = to_device(rng.integers(0, CLASSES, batch_size), "gpu")
        for _ in range(WARM_UP):
            self.step()
        self.gpu.wait()
        cupy.get_default_memory_pool().free_all_blocks()
        with Peak() as peak:
            self.step()
        self.gpu.wait()
        return {"peak_mb": peak.bytes / 2**20 or None}

    def step(self) -> None:
        """Forward, loss, backward, Adam, as in minialex/train/loop.py."""
        self.model.set_step(self.adam.t)
        logits, cache = self.model.forward(self.x)
        _, dlogits = self.loss(logits, self.labels)
        self.model.backward(dlogits, cache, self.adam.grad)
        self.adam.step()

    def layers(self, seconds: float) -> dict[str, Any]:
        """The times of the layers: see bench_gpu_layers.py."""
        return {"rows": layer_times(self, seconds)}


if __name__ == "__main__":
    serve(Ours)
