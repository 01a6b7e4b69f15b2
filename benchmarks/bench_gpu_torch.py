"""PyTorch's process of the benchmark on a GPU (see bench_gpu_worker.py): eager, fused Adam.

It needs PyTorch and nothing of minialex, so it may run in another Python.
"""

import sys
from typing import Any

import torch
from torch import nn

from bench_gpu_worker import WARM_UP, serve
from bench_torch import build
from bench_worker import CLASSES, LEARNING_RATE

DEVICE = "cuda"


class TorchGpu:
    """Events of PyTorch."""

    def mark(self) -> Any:
        """See bench_gpu_worker.Gpu, here and below."""
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def milliseconds(self, start: Any, end: Any) -> float:
        """From one event to another."""
        end.synchronize()
        return start.elapsed_time(end)

    def wait(self) -> None:
        """Until all is done."""
        torch.cuda.synchronize()


class Theirs:
    """PyTorch's network on the GPU, in one layout.

    The precision is "float32", where each product is one of float32, or "tf32", where convolutions
    and Linear layers round the numbers that they multiply to 10 bits after the point.
    """

    def __init__(self, settings: dict[str, Any]):
        if not torch.cuda.is_available():
            sys.exit("this PyTorch sees no GPU")
        torch.manual_seed(0)
        torch.backends.cudnn.benchmark = True  # the fastest of cuDNN's ways for each shape
        layout = torch.channels_last if settings["channels_last"] else torch.contiguous_format
        self.gpu, self.layout, self.side = TorchGpu(), layout, settings["image_size"]
        self.net = build(settings).to(DEVICE).to(memory_format=layout)
        self.adam = torch.optim.Adam(self.net.parameters(), lr=LEARNING_RATE, fused=True)
        self.x: Any = None
        self.labels: Any = None
        self.about = {
            "device": torch.cuda.get_device_name(),
            "software": f"PyTorch {torch.__version__}, CUDA {torch.version.cuda},"
            f" cuDNN {torch.backends.cudnn.version()}",
        }

    def prepare(self, batch_size: int, precision: str) -> dict[str, Any]:
        """Make the data, warm up, and measure the memory of a step."""
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        self.x = None  # so that two batches are never there at once
        x = torch.randn(batch_size, 3, self.side, self.side, device=DEVICE)
        self.x = x.contiguous(memory_format=self.layout)
        self.labels = torch.randint(0, CLASSES, (batch_size,), device=DEVICE)
        del x
        for _ in range(WARM_UP):
            self.step()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        self.step()
        torch.cuda.synchronize()
        return {"peak_mb": torch.cuda.max_memory_allocated() / 2**20}

    def step(self) -> None:
        """Forward, loss, backward, Adam."""
        loss = nn.functional.cross_entropy(self.net(self.x), self.labels)
        loss.backward()
        self.adam.step()
        self.adam.zero_grad()


if __name__ == "__main__":
    serve(Theirs)
