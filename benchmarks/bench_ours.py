"""The benchmark's minialex process (see bench_worker.py): AlexNet or a VGG-like network."""

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench_worker import (
    CLASSES,
    LEARNING_RATE,
    VGG_CHANNELS,
    VGG_HIDDEN,
    Step,
    peak_memory_mb,
    serve,
)
from minialex.attach import accelerate
from minialex.errors import ConfigError
from minialex.layers import Conv2d, Dropout, Flatten, Layer, Linear, MaxPool2d, ReLU, Sequential
from minialex.losses import softmax_cross_entropy
from minialex.models import AlexNet
from minialex.optim import Adam
from minialex.params import count_parameters
from minialex.train.memory import Chunks, largest_chunk
from minialex.use.summary import multiply_adds
from minialex.xp import Array


def vgg(image_size: int) -> Sequential:
    """x (N, side, side, 3) -> logits (N, CLASSES): four pairs of 3 x 3 convolutions, two Linear."""
    rng = np.random.default_rng(0)
    layers: list[Layer] = []
    channels = 3
    for filters in VGG_CHANNELS:
        for _ in range(2):
            conv = Conv2d(channels, filters, 3, padding=1, rng=rng)
            layers += [conv, ReLU()]
            channels = filters
        layers.append(MaxPool2d(2))
    features = Sequential(*layers)
    maps = features.output_shape((image_size, image_size, 3))
    if min(maps) < 1:
        raise ConfigError(
            f"vgg: images of side {image_size} are too small; use at least {2 ** len(VGG_CHANNELS)}"
        )
    classifier = Sequential(
        Linear(int(np.prod(maps)), VGG_HIDDEN, rng=rng), ReLU(), Dropout(),
        Linear(VGG_HIDDEN, CLASSES, rng=rng, std=0.001),
    )  # fmt: skip
    return Sequential(features, Flatten(), classifier)


def build(settings: dict[str, Any]) -> tuple[Layer, Layer]:
    """The network of `settings`, and the part of it before Flatten, called features."""
    side = settings["image_size"]
    if settings["variant"] == "vgg":
        model = vgg(side)
        return model, model[0]
    alexnet = AlexNet(
        CLASSES, settings["variant"], lrn=settings["lrn"], image_size=side,
        width=settings.get("width", 1.0),
    )  # fmt: skip
    return alexnet, alexnet.features


class Stopwatch:
    """The time inside `forward` and `backward` of chosen layers."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, float]] = []  # (name and direction, thread, seconds)

    def watch(self, layer: Layer, name: str) -> None:
        """From now on note each call as "name.forward" or "name.backward"."""
        for direction in ("forward", "backward"):
            setattr(layer, direction, self._timed(getattr(layer, direction), f"{name}.{direction}"))

    def _timed(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            started = time.perf_counter()
            result = function(*arguments)
            self.calls.append((name, threading.get_ident(), time.perf_counter() - started))
            return result

        return timed

    def read(self) -> dict[str, float]:
        """Seconds by name since the last reading; where several threads took part, their mean."""
        seconds: dict[str, float] = {}
        threads: dict[str, set[int]] = {}
        for name, thread, duration in self.calls:
            seconds[name] = seconds.get(name, 0.0) + duration
            threads.setdefault(name, set()).add(thread)
        self.calls.clear()
        return {name: seconds[name] / len(threads[name]) for name in seconds}


def training_step(
    model: Layer, features: Layer, x: Array, labels: Array, layers: bool, memory_limit: int | None
) -> Step:
    """A step like that of `fit`; the classifier's parts are what is not spent in `features`."""
    adam = Adam(model, lr=LEARNING_RATE)
    accelerate(model, adam, input_grad=False)
    chunk = largest_chunk(model, x.shape[1:], len(x), memory_limit)
    chunks = Chunks(model, adam, chunk, len(x))
    watch = Stopwatch()
    watch.watch(model, "model")
    watch.watch(features, "features")
    for name, layer in model.leaves() if layers else ():
        watch.watch(layer, f"layer {name}")

    def step() -> dict[str, Any]:
        start = time.perf_counter()
        for images, share, grad in chunks.of(len(x)):
            model.set_step(adam.t, images.start)
            logits, cache = model.forward(x[images])
            _, dlogits = softmax_cross_entropy(logits, labels[images])
            model.backward(dlogits if share == 1 else dlogits * share, cache, grad)
        update = time.perf_counter()
        adam.step()
        end = time.perf_counter()
        inside = watch.read()
        both, forward, backward = (
            inside.pop(name) for name in ("model.forward", "features.forward", "features.backward")
        )
        parts = {
            "features_forward": forward, "classifier_forward": both - forward,
            "classifier_backward": update - start - both - backward, "features_backward": backward,
            "optimizer": end - update,
        }  # fmt: skip
        del inside["model.backward"]
        return {"seconds": end - start, "parts": parts, "layers": inside}

    return step


def inference_step(model: Layer, x: Array) -> Step:
    """The logits of one batch."""
    accelerate(model.train(False))

    def step() -> dict[str, Any]:
        start = time.perf_counter()
        model(x)
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "parts": {"forward": seconds}}

    return step


def costs(model: Layer, shape: tuple[int, ...]) -> list[dict[str, Any]]:
    """Of each layer, per image: its multiply-adds and the elements that it reads and writes.

    Call it when the model is accelerated: then a first layer says that it leaves out dx.
    """
    rows = []
    for name, layer in model.leaves():
        row = {
            "name": name, "layer": repr(layer).partition("  # ")[0],  # without its form
            "multiply_adds": multiply_adds(layer, shape),
            "inputs": int(np.prod(shape)), "outputs": int(np.prod(layer.output_shape(shape))),
            "weights": count_parameters(layer.params),
            "input_grad": getattr(layer, "input_grad", True),
        }  # fmt: skip
        rows.append(row)
        shape = layer.output_shape(shape)
    return rows


def prepare(settings: dict[str, Any]) -> tuple[dict[str, Any], Step]:
    """The network, its data (normal numbers, as for PyTorch), and the step of the phase."""
    base_mb = peak_memory_mb()
    model, features = build(settings)
    N, shape = settings["batch_size"], (settings["image_size"], settings["image_size"], 3)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((N, *shape), dtype=np.float32)
    labels = rng.integers(0, CLASSES, N)
    if settings["phase"] == "inference":
        step = inference_step(model, x)
    else:
        limit, layers = settings.get("memory_limit"), settings.get("layers", False)
        step = training_step(model, features, x, labels, layers, limit)
    about = {
        "base_mb": base_mb, "data_mb": x.nbytes / 2**20, "layers": costs(model, shape),
        "weights_mb": count_parameters(model.params) * 4 / 2**20,
    }  # fmt: skip
    return about, step


if __name__ == "__main__":
    serve(prepare)
