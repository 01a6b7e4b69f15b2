"""The layers that came after AlexNet, in whole networks: files, modes, forms, memory, runs."""

import tracemalloc

import numpy as np
import pytest

import minialex as mx
from bad_input import refused
from device import DEVICE, assert_allclose, assert_array_equal, on_device, on_host
from dots import Dots
from minialex.attach import accelerate, plain
from minialex.errors import ConfigError
from minialex.fast.conv import Conv2d as FastConv2d
from minialex.layers import AdaptiveAvgPool2d, BatchNorm2d, GlobalAvgPool2d, LeakyReLU
from minialex.params import zeros_like
from minialex.train.checkpoint import load_checkpoint, state_dict
from minialex.train.memory import step_bytes
from minialex.train.model_file import describe
from minialex.use.summary import calls, summary


def network(seed=0):
    rng = np.random.default_rng(seed)
    return mx.Sequential(
        mx.Conv2d(3, 8, (3, 5), (1, 2), (1, 0), bias=False, rng=rng), BatchNorm2d(8), mx.ReLU(),
        mx.MaxPool2d((3, 2), (2, 1), (1, 0), ceil_mode=True),
        mx.Conv2d(8, 8, 3, padding=1, bias=False, rng=rng), BatchNorm2d(8, 1e-3, 0.2),
        LeakyReLU(0.1), AdaptiveAvgPool2d((2, 3)), mx.Conv2d(8, 6, 1, rng=rng), GlobalAvgPool2d(),
        mx.Linear(6, 3, bias=False, rng=rng),
    )  # fmt: skip


def images(N, size=12):
    return np.random.default_rng(N).standard_normal((N, size, size, 3), dtype=np.float32)


REPR = """Sequential(
  (0): Conv2d(3, 8, (3, 5), stride=(1, 2), padding=(1, 0), bias=False)
  (1): BatchNorm2d(8, eps=1e-05, momentum=0.1)
  (2): ReLU()
  (3): MaxPool2d((3, 2), stride=(2, 1), padding=(1, 0), ceil_mode=True)
  (4): Conv2d(8, 8, 3, padding=1, bias=False)
  (5): BatchNorm2d(8, eps=0.001, momentum=0.2)
  (6): LeakyReLU(0.1)
  (7): AdaptiveAvgPool2d((2, 3))
  (8): Conv2d(8, 6, 1)
  (9): GlobalAvgPool2d()
  (10): Linear(6, 3, bias=False)
)"""


@pytest.mark.parametrize("form", [accelerate, plain])
def test_a_file_describes_all_of_them(tmp_path, form):
    model = form(network().to(DEVICE))
    for N in (4, 5):
        model.forward(on_device(images(N)))
    mx.save(tmp_path / "young.safetensors", model)
    tensors, header = load_checkpoint(tmp_path / "young.safetensors")
    assert header["model"]["layers"][0]["kernel_size"] == [3, 5]
    assert header["model"] == describe(model)  # which a run that is resumed compares
    names = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
    assert {name for name in tensors if name[:2] == "1."} == {f"1.{name}" for name in names}
    assert tensors["1.num_batches_tracked"] == 2 and tensors["1.num_batches_tracked"].shape == ()
    assert tensors["0.weight"].shape == (8, 3, 3, 5)
    assert "0.bias" not in tensors and "8.bias" in tensors
    loaded = mx.load(tmp_path / "young.safetensors", device=DEVICE)
    assert repr(loaded) == REPR
    x = on_device(images(3))
    assert_allclose(form(loaded.eval())(x), model.eval()(x), rtol=1e-6, atol=1e-6)
    assert loaded[0].kernel_size == (3, 5) and loaded[4].kernel_size == 3


def test_a_pair_of_equal_numbers_is_the_number():
    pairs = mx.Conv2d(2, 4, (3, 3), [2, 2], (1, 1)), mx.MaxPool2d([2, 2]), AdaptiveAvgPool2d((6, 6))
    assert [repr(layer) for layer in pairs] == [
        "Conv2d(2, 4, 3, stride=2, padding=1)", "MaxPool2d(2, stride=2)", "AdaptiveAvgPool2d(6)",
    ]  # fmt: skip


def test_the_description_of_a_layer_that_was_there_before_is_what_it_was():
    assert describe(mx.Conv2d(3, 4, 5, stride=2)) == {
        "layer": "Conv2d", "in_channels": 3, "out_channels": 4, "kernel_size": 5, "stride": 2,
        "padding": 0, "groups": 1,
    }  # fmt: skip
    assert describe(mx.MaxPool2d(3, 2)) == {
        "layer": "MaxPool2d", "kernel_size": 3, "stride": 2, "padding": 0,
    }  # fmt: skip
    assert describe(mx.Linear(3, 2)) == {"layer": "Linear", "in_features": 3, "out_features": 2}


def test_in_evaluation_an_image_has_the_same_answer_in_any_company():
    model = accelerate(network().to(DEVICE))
    model.forward(on_device(images(8)))
    before = state_dict(model)
    model.eval()
    x = on_device(images(5))
    assert_allclose(model(x)[:1], model(x[:1]), rtol=1e-5, atol=1e-6)
    for name, array in state_dict(model).items():
        np.testing.assert_array_equal(array, before[name])


def test_in_training_a_batch_norm_gives_each_channel_its_mean_and_deviation():
    layer = BatchNorm2d(3).to(DEVICE)
    layer.params["weight"][...], layer.params["bias"][...] = 2, 5
    x = 3 * images(6) + 7
    y = on_host(layer(on_device(x)))
    np.testing.assert_allclose(y.mean(axis=(0, 1, 2)), 5, rtol=1e-5)
    np.testing.assert_allclose(y.std(axis=(0, 1, 2)), 2, rtol=1e-4)
    running = {name: on_host(array) for name, array in layer.buffers.items()}
    np.testing.assert_allclose(running["running_mean"], 0.1 * x.mean(axis=(0, 1, 2)), rtol=1e-5)
    variance = 0.9 + 0.1 * x.var(axis=(0, 1, 2), ddof=1)
    np.testing.assert_allclose(running["running_var"], variance, rtol=1e-5)


def test_one_number_of_a_channel_has_no_variance():
    layer = BatchNorm2d(3).to(DEVICE)
    with refused(ValueError, "BatchNorm2d: in training, one number of each channel"):
        layer(on_device(np.ones((1, 1, 1, 3), np.float32)))
    assert (layer.buffers["running_var"] == 1).all()
    assert layer.buffers["num_batches_tracked"] == 0
    assert layer.eval()(on_device(np.ones((1, 1, 1, 3), np.float32))).shape == (1, 1, 1, 3)


def test_backward_belongs_to_the_mode_of_its_forward():
    layer, x = BatchNorm2d(3).to(DEVICE), on_device(images(4))
    _, cache = layer.forward(x)
    dy, grad = on_device(images(4)[::-1].copy()), zeros_like(layer.params)
    want = layer.backward(dy, cache, grad)
    layer.eval()
    assert_array_equal(layer.backward(dy, cache, grad), want)


def test_winograd_is_left_to_squares():
    pair, square = mx.Conv2d(16, 16, (3, 5), padding=(1, 2)), mx.Conv2d(16, 16, 3, padding=(1, 2))
    for layer in (pair, square):
        if DEVICE == "cpu":
            with refused(ConfigError, "winograd cannot do Conv2d(16, 16,"):
                accelerate(layer, algorithm="winograd")
            accelerate(layer)
            assert isinstance(layer, FastConv2d) and layer.plan((8, 30, 30, 16)) is None


def test_windows_that_do_not_fit_are_refused_in_each_direction():
    for layer in (mx.Conv2d(1, 1, (1, 5)), mx.MaxPool2d((1, 5))):
        x = np.zeros((1, 5, 5, 1), np.float32)
        for form in (plain, accelerate):
            form(on_device(layer)).to(DEVICE)
            assert layer(on_device(x)).shape[1:3] == (5, 1)
            with refused(ValueError, "(1, 5, 4, 1)", "window does not fit", "(1, 5)"):
                layer(on_device(x[:, :, :4]))
    for layer in (AdaptiveAvgPool2d(2), GlobalAvgPool2d()):
        with refused(ValueError, "(1, 0, 5, 1)", "window does not fit"):
            layer(on_device(np.zeros((1, 0, 5, 1), np.float32)))


def test_a_maximum_of_minus_infinity_and_nan_at_the_edge_is_the_pages():
    x = np.full((2, 5, 6, 2), -np.inf, np.float32)
    x[1, 4, 5], x[1, 2, 1], x[0, 3] = np.nan, 1, -1
    dy = np.arange(2 * 3 * 3 * 2, dtype=np.float32).reshape(2, 3, 3, 2) + 1
    found = []
    for form in (plain, accelerate):
        layer = form(mx.MaxPool2d((2, 3), 2, (1, 0), ceil_mode=True)).to(DEVICE)
        y, cache = layer.forward(on_device(x))
        assert y.shape == (2, 3, 3, 2)
        found.append((y, layer.backward(on_device(dy), cache, {})))
    for one, other in zip(*found, strict=True):
        assert_array_equal(one, other)
    assert float(found[0][1].sum()) == dy.sum()


def test_the_summary_counts_pairs_and_buffers():
    model = network()
    shapes = {name: made for name, _, _, made in calls(model, (12, 12, 3))}
    assert shapes["0"] == (12, 4, 8) and shapes["3"] == (7, 3, 8) and shapes["9"] == (6,)
    for name, layer, taken, made in calls(model, (12, 12, 3)):
        assert layer.output_shape(taken) == made, name
    text = summary(model, (12, 12, 3))
    row = next(line.split() for line in text.splitlines() if line.startswith("0 "))
    assert "360" in row and f"{12 * 4 * 360:,}" in row
    assert "34 numbers" in text


def fit(run, **options):
    model = network()
    optimizer = mx.SGD(model, lr=0.05, nesterov=True)
    loader, val = (
        mx.DataLoader(Dots(48, side=12), 8, shuffle=True),
        mx.DataLoader(Dots(12, 100, side=12), 5),
    )
    options = {"epochs": 4, "device": DEVICE, **options}
    history = mx.fit(model, loader, optimizer, val=val, run=run, **options)
    return model, history, mx.evaluate(model, val)


@pytest.mark.parametrize("plainly", [False, True])
def test_they_train_and_a_run_resumes_to_the_bit(tmp_path, plainly):
    whole, history, scores = fit(tmp_path / "whole", plain=plainly)
    best = max(history, key=lambda row: (row["val_acc"], -row["val_loss"]))
    assert scores == pytest.approx((best["val_loss"], best["val_acc"]), rel=1e-4)
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    fit(tmp_path / "parts", epochs=2, keep_last=True, plain=plainly)
    parts = fit(tmp_path / "parts", plain=plainly)[0]
    for name, array in state_dict(whole).items():
        np.testing.assert_array_equal(state_dict(parts)[name], array)


def test_chunks_are_refused(tmp_path):
    with refused(ConfigError, "cannot be taken in chunks", "1 BatchNorm2d needs all its images"):
        fit(tmp_path, memory_limit=130_000)


@pytest.mark.skipif(DEVICE == "gpu", reason="the formula is compared with the CPU's memory")
@pytest.mark.parametrize("kind", [BatchNorm2d, LeakyReLU])
def test_a_step_needs_no_more_memory_than_the_formula(kind):
    layers = [mx.Conv2d(3, 16, 3, padding=1), *([kind(16)] if kind is BatchNorm2d else [kind()])]
    rest = mx.MaxPool2d(2), AdaptiveAvgPool2d(6), mx.Flatten(), mx.Linear(576, 3)
    model = mx.Sequential(*layers, *rest)
    optimizer = mx.Adam(model)
    accelerate(model, optimizer, input_grad=False)
    labels, x = np.arange(32) % 3, images(32, 64)
    tracemalloc.start()
    try:
        logits, cache = model.forward(x)
        _, dlogits = mx.softmax_cross_entropy(logits, labels)
        model.backward(dlogits, cache, optimizer.grad)
        optimizer.step()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= step_bytes(model, (64, 64, 3), 32)
