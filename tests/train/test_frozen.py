"""Training of what lies above frozen layers: the same numbers, at less cost."""

import functools

import numpy as np
import pytest

import minialex as mx
import tiny_run
from bad_input import refused
from device import DEVICE, on_device, on_host
from minialex.errors import ConfigError
from minialex.params import named_arrays
from minialex.train import frozen
from minialex.train.loop import Training
from minialex.train.memory import Chunks

RNG = np.random.default_rng(0)
IMAGES = [(x, k % 2) for k, x in enumerate(RNG.standard_normal((20, 8, 8, 3), dtype=np.float32))]


def network(dropout=0.5):
    rng = np.random.default_rng(1)
    parts = [mx.Sequential(mx.Conv2d(3, 4, 3, rng=rng), mx.ReLU(), mx.MaxPool2d(2)), mx.Flatten(),
             mx.Dropout(dropout), mx.Linear(36, 8, rng=rng), mx.ReLU(), mx.Dropout(dropout),
             mx.Linear(8, 2, rng=rng)]  # fmt: skip
    return mx.Sequential(*parts)


def jitter(x, rng):
    return x + np.float32(rng.standard_normal())


def run(freeze, folder=None, transform=None, epochs=2, **options):
    model = network()
    optimizer = mx.Adam(model, lr=1e-2, freeze=freeze)
    loader = mx.DataLoader(IMAGES, 8, transform, shuffle=True, seed=3)
    val = mx.DataLoader(IMAGES[:8], 8)
    lines = []
    training = Training(model, loader, optimizer, epochs, val, run=folder, device=DEVICE,
        screen=tiny_run.Watch(lines=lines), **options)  # fmt: skip
    training.lines = lines
    return training


def by_hand(freeze, transform=None, epochs=2, form=mx.plain):
    """The loop of the tutorial, whose gradients of frozen layers are thrown away."""
    model = on_device(network())
    form(model)
    optimizer = mx.Adam(model, lr=1e-2, freeze=freeze)
    loader = mx.DataLoader(IMAGES, 8, transform, shuffle=True, seed=3)
    model.train()
    step = 0
    for epoch in range(epochs):
        for x, labels in loader.epoch(epoch):
            model.set_step(step)
            logits, cache = model.forward(on_device(x))
            _, dlogits = mx.softmax_cross_entropy(logits, on_device(labels))
            model.backward(dlogits, cache, optimizer.grad)
            optimizer.step()
            step += 1
    return on_host(optimizer.theta).copy()


def last_theta(training):
    found, end = [], training.end_epoch

    def end_epoch():
        found.append(on_host(training.optimizer.theta).copy())
        end()

    training.end_epoch = end_epoch
    training.train()
    return found[-1]


FREEZE = {"features": "0.*", "up to the head": ["0.*", "3.*"], "in the middle": "3.*",
          "biases": "*.bias", "a weight": "0.0.weight"}  # fmt: skip


@pytest.mark.parametrize("transform", [None, jitter])
@pytest.mark.parametrize("freeze", FREEZE.values(), ids=FREEZE)
def test_the_numbers_are_those_of_the_whole_network(freeze, transform):
    wanted = by_hand(freeze, transform)
    found = last_theta(run(freeze, transform=transform, plain=True))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    if transform is not None:
        assert np.array_equal(found, wanted)
    fast = last_theta(run(freeze, transform=transform))
    np.testing.assert_allclose(fast, wanted, rtol=1e-3, atol=1e-4)


def test_frozen_layers_run_once_per_image_and_their_backward_never():
    calls = {"forward": 0, "backward": 0}
    training = run("0.*")
    conv = training.model[0][0]
    forward, backward = conv.forward, conv.backward

    def count(what, real, x, *rest, **how):
        calls[what] += len(x)
        return real(x, *rest, **how)

    vars(conv)["forward"] = functools.partial(count, "forward", forward)
    vars(conv)["backward"] = functools.partial(count, "backward", backward)
    training.train()
    assert calls["forward"] == 28 and calls["backward"] == 0
    assert "frozen layers ran once: 0.0 MB of memory keep their outputs" in training.lines


def test_nothing_is_kept_where_images_change_or_memory_is_short(monkeypatch):
    training = run("0.*", transform=jitter)
    training.train()
    assert not training.net.after_first and not any("frozen" in line for line in training.lines)
    monkeypatch.setattr(frozen, "MOST", 1000)
    training = run("0.*")
    training.train()
    assert not training.net.after_first
    assert "frozen layers run in each epoch: 0.0 MB would be too much" in training.lines


def test_without_frozen_layers_below_the_network_itself_trains():
    for freeze in ((), "6.*", "*.bias", "0.0.weight"):
        training = run(freeze)
        assert training.net is training.model


def test_a_batch_in_chunks():
    wanted = last_theta(run("0.*", transform=jitter))
    training = run("0.*", transform=jitter)
    training.chunks = Chunks(training.model, training.optimizer, 3, 8)
    training.meter.log = training.meter.log.repeat(3, axis=0)
    np.testing.assert_allclose(last_theta(training), wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("transform", [None, jitter])
def test_a_run_that_was_stopped_goes_on_to_the_bit(tmp_path, transform):
    wanted = last_theta(run(["0.*", "*.bias"], tmp_path / "a", transform))
    training = run(["0.*", "*.bias"], tmp_path / "b", transform)

    def stop(step):
        training.stop.asked = training.progress.epoch == 1 and step == 2

    training.screen.after = stop
    with pytest.raises(KeyboardInterrupt):
        training.train()
    found = last_theta(run(["0.*", "*.bias"], tmp_path / "b", transform))
    assert np.array_equal(found, wanted)
    size = (tmp_path / "b" / "best.safetensors").stat().st_size
    assert size < 20_000
    with refused(mx.MinialexError, "holds a run with another optimizer"):
        run("0.*", tmp_path / "b", transform)


def test_the_commands_option(tmp_path):
    training = tiny_run.training(tmp_path / "run", augment="none", freeze="features.*, *.bias")
    before = on_host(training.optimizer.theta).copy()
    training.train()
    names = training.optimizer.frozen
    after = on_host(training.optimizer.theta)
    start = 0
    for own, key, name in named_arrays(training.model.params):
        part = slice(start, start + own[key].size)
        start = part.stop
        assert np.array_equal(before[part], after[part]) == (name in names), name
    with refused(ConfigError, "the pattern 'feature.*' fits no parameter"):
        tiny_run.training(tmp_path / "other", freeze="feature.*")
