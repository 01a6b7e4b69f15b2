"""Buffers, by the batch normalization of a student: saved, moved, and nobody else's business."""

import numpy as np
import pytest

import minialex as mx
from bad_input import refused
from cores import cores
from device import DEVICE, assert_allclose, on_device, on_host
from dots import Dots
from minialex.attach import accelerate, plain
from minialex.errors import ConfigError
from minialex.train.checkpoint import state_dict
from minialex.xp import get_xp
from own_layers import BatchNorm


def rng():
    return np.random.default_rng(3)


def network():
    return mx.Sequential(
        mx.Conv2d(3, 4, 3, padding=1, rng=rng()), BatchNorm(4), mx.ReLU(), mx.MaxPool2d(2),
        mx.Conv2d(4, 6, 3, rng=rng()), BatchNorm(6), mx.ReLU(), mx.Flatten(),
        mx.Linear(24, 3, rng=rng()),
    )  # fmt: skip


def images(N, dtype=np.float32):
    return on_device(rng().standard_normal((N, 8, 8, 3)).astype(dtype))


@pytest.mark.parametrize("form", [accelerate, plain])
def test_its_gradients_are_right_and_the_check_leaves_the_buffers_alone(form):
    for layer, x in ((BatchNorm(3), images(4)), (network(), images(3))):
        layer = form(layer.to(DEVICE))
        before = state_dict(layer)
        for mode in (True, False):
            layer.train(mode)
            assert mx.gradcheck(layer, x, max_entries=20)
        after = state_dict(layer)
        assert before.keys() == after.keys()
        for name in before:
            np.testing.assert_array_equal(after[name], before[name])
            assert after[name].dtype == before[name].dtype


def test_the_check_takes_a_count_that_training_made_a_number_of_numpy():
    layer, x = BatchNorm(3).to(DEVICE), images(4)[..., :3]
    layer.forward(x)
    count = layer.buffers["num_batches_tracked"]
    assert mx.gradcheck(layer, x, max_entries=20)
    assert layer.buffers["num_batches_tracked"] is count and on_host(count) == 1


def losses(model, threads, N=40, chunk=None):
    model.to(DEVICE)
    optimizer = mx.Adam(model, lr=1e-2)
    with cores(threads):
        accelerate(model, optimizer)
        found, x = [], images(N)
        labels = on_device(np.arange(N) % 3)
        for _ in range(3):
            logits, cache = model.forward(x)
            loss, dlogits = mx.softmax_cross_entropy(logits, labels)
            model.backward(dlogits, cache, optimizer.grad)
            optimizer.step()
            found.append(float(loss))
    return found


def test_the_same_numbers_with_one_and_four_threads_and_as_the_pages():
    one, four = losses(network(), 1), losses(network(), 4)
    assert one == four
    model = network().to(DEVICE)
    logits = model.forward(images(40))[0]
    first = mx.softmax_cross_entropy(logits, on_device(np.arange(40) % 3))[0]
    assert one[0] == pytest.approx(float(first), rel=1e-5)


def test_they_are_saved_loaded_and_moved_under_the_names_of_pytorch(tmp_path):
    model = network()
    model.forward(rng().standard_normal((5, 8, 8, 3), dtype=np.float32))
    names = {name for name in state_dict(model) if name.startswith("1.")}
    tail = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    assert names == {f"1.{name}" for name in tail}
    mx.save(tmp_path / "bn.safetensors", model)
    other = mx.load(tmp_path / "bn.safetensors", into=network(), device=DEVICE)
    x = images(4)
    assert get_xp(other[1].buffers["running_mean"]) is get_xp(x)
    assert on_host(other[1].buffers["num_batches_tracked"]) == 1
    want = model.train(False)(on_host(x))
    assert_allclose(other.train(False)(x), want, rtol=1e-5, atol=1e-5)
    double = model.to(dtype=np.float64)[1].buffers
    assert double["running_var"].dtype == np.float64
    assert double["num_batches_tracked"].dtype == np.int64


def test_no_optimizer_sees_them():
    model = network()
    optimizer = mx.Adam(model, decoupled=True, weight_decay=0.5, lr=0.1)
    assert optimizer.theta.size == sum(
        array.size
        for name, array in state_dict(model).items()
        if "running" not in name and "num" not in name
    )
    before = state_dict(model)
    optimizer.step()
    after = state_dict(model)
    assert not np.array_equal(after["1.weight"], before["1.weight"])
    for name in ("1.running_mean", "5.running_var"):
        np.testing.assert_array_equal(after[name], before[name])


def test_chunks_are_refused_and_a_run_with_it_resumes(tmp_path):
    def fit(run, **options):
        model = network()
        optimizer = mx.Adam(model, lr=1e-2)
        loader = mx.DataLoader(Dots(24), 8, shuffle=True)
        val = mx.DataLoader(Dots(12, 100), 5)
        options = {"epochs": 2, "device": DEVICE, **options}
        mx.fit(model, loader, optimizer, val=val, run=run, **options)
        return state_dict(model)

    with refused(ConfigError, "cannot be taken in chunks", "1 BatchNorm needs all its images"):
        fit(tmp_path / "small", memory_limit=100_000)
    whole = fit(tmp_path / "whole", keep_last=True)
    assert whole["1.num_batches_tracked"] in (3, 6)
    fit(tmp_path / "parts", epochs=1, keep_last=True)
    parts = fit(tmp_path / "parts", keep_last=True)
    for name in whole:
        np.testing.assert_array_equal(parts[name], whole[name])
