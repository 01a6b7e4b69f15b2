"""The benchmark's PyTorch process (see bench_worker.py): the same networks, eager, in float32.

It needs PyTorch and nothing of minialex, so it may run in another Python.
"""

import time
from typing import Any

import torch
from torch import nn

from bench_worker import CLASSES, LEARNING_RATE, VGG_CHANNELS, VGG_HIDDEN, Step, serve

#            filters of conv1..5         groups     padding   (as in minialex/models/alexnet.py)
VARIANTS = {
    "2012": ((96, 256, 384, 384, 256), (2, 1, 2, 2), 0),
    "ungrouped": ((96, 256, 384, 384, 256), (1, 1, 1, 1), 0),
    "owt": ((64, 192, 384, 256, 256), (1, 1, 1, 1), 2),
}


class Net(nn.Module):
    """`features`, then `classifier` on its flattened maps."""

    def __init__(self, features: Any, classifier: Any):
        super().__init__()
        self.features, self.classifier = features, classifier

    def forward(self, x: Any) -> Any:  # x (N, 3, side, side)
        return self.classifier(torch.flatten(self.features(x), 1))


def maps_size(features: Any, image_size: int) -> int:
    """How many elements `features` makes of one image."""
    with torch.no_grad():
        return features(torch.zeros(1, 3, image_size, image_size)).numel()


def relu() -> Any:
    """max(0, x), written over x."""
    return nn.ReLU(inplace=True)


def alexnet(variant: str, lrn: bool, image_size: int, width: float = 1.0) -> Net:
    """AlexNet in one of its three forms; `width` scales it as it does minialex's."""
    filters, (g2, g3, g4, g5), padding = VARIANTS[variant]
    c1, c2, c3, c4, c5 = (max(2, round(count * width / 2) * 2) for count in filters)
    hidden = max(1, round(4096 * width))

    def normalise() -> list[Any]:
        # PyTorch divides alpha by the number of channels, the paper does not.
        return [nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)] if lrn else []

    features = nn.Sequential(
        nn.Conv2d(3, c1, 11, stride=4, padding=padding), relu(), *normalise(), nn.MaxPool2d(3, 2),
        nn.Conv2d(c1, c2, 5, padding=2, groups=g2), relu(), *normalise(), nn.MaxPool2d(3, 2),
        nn.Conv2d(c2, c3, 3, padding=1, groups=g3), relu(),
        nn.Conv2d(c3, c4, 3, padding=1, groups=g4), relu(),
        nn.Conv2d(c4, c5, 3, padding=1, groups=g5), relu(), nn.MaxPool2d(3, 2),
    )  # fmt: skip
    fc6 = nn.Linear(maps_size(features, image_size), hidden)
    fc7, fc8 = nn.Linear(hidden, hidden), nn.Linear(hidden, CLASSES)
    if variant == "owt":
        return Net(
            features, nn.Sequential(nn.Dropout(), fc6, relu(), nn.Dropout(), fc7, relu(), fc8)
        )
    return Net(features, nn.Sequential(fc6, relu(), nn.Dropout(), fc7, relu(), nn.Dropout(), fc8))


def vgg(image_size: int) -> Net:
    """Four pairs of 3 x 3 convolutions, two Linear layers."""
    layers: list[Any] = []
    channels = 3
    for filters in VGG_CHANNELS:
        for _ in range(2):
            layers += [nn.Conv2d(channels, filters, 3, padding=1), relu()]
            channels = filters
        layers.append(nn.MaxPool2d(2))
    features = nn.Sequential(*layers)
    hidden = nn.Linear(maps_size(features, image_size), VGG_HIDDEN)
    classifier = nn.Sequential(hidden, relu(), nn.Dropout(), nn.Linear(VGG_HIDDEN, CLASSES))
    return Net(features, classifier)


def build(settings: dict[str, Any]) -> Net:
    """The network of `settings`."""
    if settings["variant"] == "vgg":
        return vgg(settings["image_size"])
    width = settings.get("width", 1.0)
    return alexnet(settings["variant"], settings["lrn"], settings["image_size"], width)


def training_step(net: Net, x: Any, labels: Any, fused: bool) -> Step:
    """Forward, loss, backward, Adam; a hook on the maps between the two halves splits backward."""
    adam = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE, fused=True if fused else None)

    def step() -> dict[str, Any]:
        between: list[float] = []
        start = time.perf_counter()
        maps = net.features(x)
        middle = time.perf_counter()
        maps.register_hook(lambda _: between.append(time.perf_counter()))
        loss = nn.functional.cross_entropy(net.classifier(torch.flatten(maps, 1)), labels)
        turn = time.perf_counter()
        loss.backward()
        update = time.perf_counter()
        adam.step()
        adam.zero_grad()
        end = time.perf_counter()
        parts = {
            "features_forward": middle - start, "classifier_forward": turn - middle,
            "classifier_backward": between[0] - turn, "features_backward": update - between[0],
            "optimizer": end - update,
        }  # fmt: skip
        return {"seconds": end - start, "parts": parts}

    return step


def inference_step(net: Net, x: Any) -> Step:
    """The logits of one batch."""
    net.eval()

    def step() -> dict[str, Any]:
        start = time.perf_counter()
        with torch.inference_mode():
            net(x)
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "parts": {"forward": seconds}}

    return step


def prepare(settings: dict[str, Any]) -> tuple[dict[str, Any], Step]:
    """The network, its data, and the step of the phase asked for."""
    torch.manual_seed(0)
    if settings["threads"]:
        torch.set_num_threads(settings["threads"])
    net = build(settings)
    N, side = settings["batch_size"], settings["image_size"]
    x, labels = torch.randn(N, 3, side, side), torch.randint(0, CLASSES, (N,))
    if settings["channels_last"]:
        net = net.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    if settings["phase"] == "inference":
        return {}, inference_step(net, x)
    return {}, training_step(net, x, labels, settings["fused"])


if __name__ == "__main__":
    serve(prepare)
