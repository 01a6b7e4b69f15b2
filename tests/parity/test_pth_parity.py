"""A .pth of torchvision's AlexNet, as torch.save writes it: in, trained on, and back."""

import numpy as np
import pytest
import torch
from torch import nn

import minialex as mx
from minialex.attach import accelerate
from minialex.layers import AdaptiveAvgPool2d
from minialex.models import AlexNet
from minialex.train.checkpoint import state_dict
from minialex.train.model_file import read_model
from minialex.train.torch_file import pth_bytes, read_pth


class Torchvisions(nn.Module):
    """The layout of torchvision.models.AlexNet."""

    def __init__(self, classes):
        super().__init__()
        convolutions = ((3, 64, 11, 4, 2), (64, 192, 5, 1, 2), (192, 384, 3, 1, 1),
                        (384, 256, 3, 1, 1), (256, 256, 3, 1, 1))  # fmt: skip
        features = []
        for k, (C, F, K, S, P) in enumerate(convolutions):
            features += [nn.Conv2d(C, F, K, S, P), nn.ReLU(inplace=True)]
            features += [nn.MaxPool2d(3, 2)] if k in (0, 1, 4) else []
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU(inplace=True),
            nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Linear(4096, classes),
        )  # fmt: skip

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(0)
    return Torchvisions(1000).eval()


@pytest.fixture(scope="module")
def path(theirs, tmp_path_factory):
    path = tmp_path_factory.mktemp("pth") / "alexnet.pth"
    torch.save(theirs.state_dict(), path)
    return path


def relative(a, b):
    return float(np.abs(a - b).max() / np.abs(b).max())


def images(N=2, side=224):
    return np.random.default_rng(0).standard_normal((N, side, side, 3), dtype=np.float32)


def of_any_size(model):
    """As in docs/own.md: the same layers, and between them what torchvision has there."""
    return mx.Sequential(model.features, AdaptiveAvgPool2d(6), mx.Flatten(), model.classifier)


def answers(model, x):
    with torch.no_grad():
        return model(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()


@pytest.mark.parametrize("form", [mx.plain, mx.accelerate])
def test_the_logits_are_pytorchs(theirs, path, form):
    model = AlexNet(1000, "owt")
    mx.load(path, into=model)
    form(model).eval()
    assert relative(model(images()), answers(theirs, images())) < 1e-5
    x = images(side=256)
    assert relative(form(of_any_size(model)).eval()(x), answers(theirs, x)) < 1e-5


@pytest.mark.parametrize("freeze, side", [("features.*", 224), ((), 256)])
def test_it_trains_on_as_in_pytorch_and_goes_back(path, tmp_path, freeze, side):
    model = AlexNet(5, "owt", dropout=0)
    lines = []
    read_model(path, model, lines.append)
    assert lines[0].endswith("of 5 classes, not 1,000")
    mx.save(tmp_path / "start.pth", model)
    twin = Torchvisions(5).eval()  # without dropout
    twin.load_state_dict(torch.load(tmp_path / "start.pth", weights_only=True), strict=True)
    twin.features.requires_grad_(not freeze)
    theirs = torch.optim.SGD(
        [p for p in twin.parameters() if p.requires_grad], lr=1e-3, momentum=0.9
    )
    pairs = [(x, k % 5) for k, x in enumerate(images(6, side))]
    net = model if side == 224 else of_any_size(model)
    optimizer = mx.SGD(net, lr=1e-3, freeze=freeze)
    mx.fit(net, mx.DataLoader(pairs, 3), optimizer, epochs=2, device="cpu")
    for k in (0, 3) * 2:
        x = torch.from_numpy(
            np.stack([x for x, _ in pairs[k : k + 3]]).transpose(0, 3, 1, 2).copy()
        )
        loss = nn.functional.cross_entropy(twin(x), torch.tensor([y for _, y in pairs[k : k + 3]]))
        theirs.zero_grad()
        loss.backward()
        theirs.step()
    mx.save(tmp_path / "trained.pth", model)
    found = torch.load(tmp_path / "trained.pth", weights_only=True)
    for name, tensor in twin.state_dict().items():
        assert relative(found[name].numpy(), tensor.numpy()) < 1e-4, name
    if freeze:
        assert torch.equal(found["features.0.weight"], twin.features[0].weight)
    twin.load_state_dict(found, strict=True)
    accelerate(net).eval()
    assert relative(net(images(side=side)), answers(twin, images(side=side))) < 1e-5


def test_rates_by_name_are_pytorchs_parameter_groups(tmp_path):
    model = mx.Sequential(mx.Linear(6, 5), mx.Tanh(), mx.Linear(5, 3)).to(dtype=np.float64)
    twin = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    (tmp_path / "x.pth").write_bytes(pth_bytes(state_dict(model)))
    twin.load_state_dict(torch.load(tmp_path / "x.pth", weights_only=True))
    optimizer = mx.Adam(model, lr={"*.bias": 0.02, "*": 0.01}, weight_decay={"*.bias": 0, "*": 0.1})
    theirs = torch.optim.Adam([
        {"params": [twin[0].weight, twin[2].weight], "lr": 0.01, "weight_decay": 0.1},
        {"params": [twin[0].bias, twin[2].bias], "lr": 0.02}])  # fmt: skip
    x, labels = np.random.default_rng(0).standard_normal((8, 6)), np.arange(8) % 3
    for _ in range(10):
        logits, cache = model.forward(x)
        model.backward(mx.softmax_cross_entropy(logits, labels)[1], cache, optimizer.grad)
        optimizer.step()
        theirs.zero_grad()
        nn.functional.cross_entropy(twin(torch.from_numpy(x)), torch.from_numpy(labels)).backward()
        theirs.step()
    for name, array in state_dict(model).items():
        assert relative(array, twin.state_dict()[name].numpy()) < 1e-9, name


def test_tensors_of_all_kinds_go_there_and_back(tmp_path):
    base = torch.arange(12.0)
    tensors = {
        "across": base.reshape(3, 4).T, "part": base[3:6], "half": torch.ones(2).half(),
        "count": torch.tensor(5), "flags": torch.tensor([True, False]), "none": torch.zeros(0, 3),
        "double": torch.ones(3, dtype=torch.float64), "bytes": torch.arange(9, dtype=torch.uint8),
        "learned": nn.Parameter(torch.ones(2)),
    }  # fmt: skip
    torch.save(tensors, tmp_path / "x.pth")
    found = read_pth(tmp_path / "x.pth")
    (tmp_path / "y.pth").write_bytes(pth_bytes(found))
    back = torch.load(tmp_path / "y.pth", weights_only=True)
    for name, tensor in tensors.items():
        assert np.array_equal(found[name], tensor.detach().numpy())
        assert torch.equal(back[name], tensor.detach()) and back[name].dtype == tensor.dtype
