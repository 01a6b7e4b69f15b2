"""Optimizers, pages and fast forms, against their formulas."""

import math

import numpy as np
import pytest

from bad_input import refused
from cores import cores
from device import assert_allclose, assert_on_device, on_device
from minialex.attach import accelerate, plain
from minialex.errors import ConfigError
from minialex.fast import optim as fast_optim
from minialex.layers import Linear, Sequential
from minialex.losses import softmax_cross_entropy
from minialex.optim import SGD, Adam, clip_gradient_norm
from minialex.params import flatten
from minialex.train.recipes import make_optimizer
from minialex.twin import page_of

STEPS = 5
FORMS = pytest.mark.parametrize("form", ["page", "fast"])


def model():
    """Any that is on the device of the tests."""
    return on_device(Linear(1, 1, rng=np.random.default_rng(0)))


def in_form(optimizer, form):
    if form == "fast":
        accelerate(model(), optimizer)
        assert type(optimizer) is not page_of(optimizer)
    return optimizer


@pytest.fixture(params=[1, 16, 17, 53])
def size(request, monkeypatch):
    """Vectors of one block, one and a bit, and several blocks."""
    monkeypatch.setattr(fast_optim, "BLOCK", 16)
    return request.param


def vectors(size, dtype=np.float64):
    rng = np.random.default_rng(size)
    theta = rng.standard_normal(size).astype(dtype)
    return theta, [rng.standard_normal(size).astype(dtype) for _ in range(STEPS)]


@FORMS
@pytest.mark.parametrize("momentum", [0, 0.9])
@pytest.mark.parametrize("decay", [0, 0.1])
def test_sgd(size, momentum, decay, form):
    theta, gradients = vectors(size)
    want, v, theta = theta.copy(), np.zeros(size), on_device(theta)
    optimizer = in_form(SGD(theta, lr=0.05, momentum=momentum, weight_decay=decay), form)
    for t, g in enumerate(gradients):
        lr = 0.05 / (t + 1)
        v = momentum * v + (g + decay * want)
        want = want - lr * v
        optimizer.step(on_device(g), lr)
    assert_allclose(theta, want, rtol=1e-13)
    assert_allclose(optimizer.state["v"], v, rtol=1e-13)
    assert_on_device(theta, optimizer.state["v"])
    assert optimizer.t == STEPS and optimizer.theta is theta


@FORMS
@pytest.mark.parametrize("decay", [0, 0.1])
def test_nesterov(size, decay, form):
    theta, gradients = vectors(size)
    want, v, theta = theta.copy(), np.zeros(size), on_device(theta)
    options = {"momentum": 0.9, "weight_decay": decay, "nesterov": True}
    optimizer = in_form(SGD(theta, lr=0.05, **options), form)
    for t, g in enumerate(gradients):
        lr, before = 0.05 / (t + 1), g.copy()
        optimizer.step(on_device(g), lr)
        np.testing.assert_array_equal(g, before)
        g = g + decay * want
        v = 0.9 * v + g
        want = want - lr * (g + 0.9 * v)
    assert_allclose(theta, want, rtol=1e-12)
    assert_allclose(optimizer.state["v"], v, rtol=1e-13)
    assert "nesterov=True" in repr(optimizer) and optimizer.settings()["nesterov"]
    assert "nesterov" not in SGD(theta).settings()  # as in runs of before


def test_nesterov_needs_a_momentum():
    with refused(ConfigError, "nesterov needs a momentum above 0"):
        SGD(on_device(np.ones(3)), momentum=0, nesterov=True)


@FORMS
@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("decay", [0, 0.1])
@pytest.mark.parametrize("eps", [1e-8, 0.3])
def test_adam(size, decoupled, decay, eps, form):
    theta, gradients = vectors(size)
    want, m, v, (b1, b2) = theta.copy(), np.zeros(size), np.zeros(size), (0.8, 0.95)
    theta = on_device(theta)
    options = {"betas": (b1, b2), "eps": eps, "weight_decay": decay, "decoupled": decoupled}
    optimizer = in_form(Adam(theta, lr=0.05, **options), form)
    for t, g in enumerate(gradients, start=1):
        lr = 0.05 / t
        if decoupled:
            want = want - lr * decay * want
        else:
            g = g + decay * want
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g * g
        want = want - lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        optimizer.step(on_device(gradients[t - 1]), lr)
    assert_allclose(theta, want, rtol=1e-12)
    assert_allclose(optimizer.state["m"], m, rtol=1e-12)
    assert_allclose(optimizer.state["v"], v, rtol=1e-12)
    assert_on_device(theta, *optimizer.state.values())


@FORMS
def test_adam_first_step_is_the_learning_rate_long(form):
    theta, g = on_device(np.zeros(3)), on_device(np.array([1e-3, -5.0, 200.0]))
    in_form(Adam(theta, lr=0.01), form).step(g)
    assert_allclose(theta, [-0.01, 0.01, -0.01], rtol=1e-4)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_real_blocks_give_what_one_block_gives_and_leave_the_gradient(name, monkeypatch):
    theta, gradients = vectors(2 * fast_optim.BLOCK + 7, np.float32)
    theta, gradients = on_device(theta), [on_device(g) for g in gradients]
    whole, before = theta.copy(), [g.copy() for g in gradients]
    optimizer = in_form(make_optimizer(name, theta, lr=0.01, weight_decay=0.01), "fast")
    with cores(3):
        for g in gradients:
            optimizer.step(g)
    monkeypatch.setattr(fast_optim, "BLOCK", theta.size)
    optimizer = in_form(make_optimizer(name, whole, lr=0.01, weight_decay=0.01), "fast")
    for g in gradients:
        optimizer.step(g)
    assert np.array_equal(theta, whole) and theta.dtype == np.float32
    assert all(array.dtype == np.float32 for array in optimizer.state.values())
    assert all(np.array_equal(g, b) for g, b in zip(gradients, before, strict=True))


@pytest.mark.parametrize("dtype, bound", [(np.float64, 1e-12), (np.float32, 1e-5)])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_a_fast_optimizer_is_its_page(name, dtype, bound):
    """One after the other on the same theta and the same vectors: the form is all that changes."""
    rng = np.random.default_rng(0)
    for i in range(10):
        size = int(rng.integers(1, 3 * fast_optim.BLOCK if i == 9 else 2000))
        start, decay = rng.standard_normal(size).astype(np.float32), (0, 0.1)[i % 2]
        gradients = [10.0 ** rng.integers(-3, 2) * rng.standard_normal(size) for _ in range(STEPS)]
        thetas = on_device(start.astype(np.float64)), on_device(start.astype(dtype))
        want, got = (make_optimizer(name, theta, 0.01, decay) for theta in thetas)
        in_form(got, "fast")
        for g in gradients:
            g = on_device(g.astype(np.float32))
            want.step(g.astype(np.float64))
            got.step(g.astype(dtype))
        for a, b in ((got.theta, want.theta), *((got.state[k], want.state[k]) for k in want.state)):
            assert a.dtype == dtype and float(abs(a - b).max()) <= bound * float(abs(b).max())


def test_the_form_of_an_optimizer_can_change_at_any_step():
    theta, gradients = vectors(50)
    found = []
    for forms in (("page",) * 5, ("fast", "page", "page", "fast", "fast")):
        optimizer = Adam(on_device(theta.copy()), weight_decay=0.1)
        vector, state = optimizer.theta, optimizer.state["m"]
        for form, g in zip(forms, gradients, strict=True):
            in_form(plain(model(), optimizer) and optimizer, form)
            optimizer.step(on_device(g))
        assert optimizer.t == 5 and optimizer.theta is vector and optimizer.state["m"] is state
        found.append(vector)
    assert_allclose(found[1], found[0], rtol=1e-12)


def test_an_optimizer_of_ones_own_is_left_alone():
    class Mine(SGD):
        def update(self, g, lr):
            self.theta -= lr * g

    optimizer = Mine(on_device(np.ones(3)))
    accelerate(model(), optimizer)
    assert type(optimizer) is Mine


def test_make_optimizer():
    theta = on_device(np.ones(3))
    assert type(make_optimizer("sgd", theta, 0.1, 0.2)) is SGD
    adam, adamw = make_optimizer("adam", theta, 0.1, 0.2), make_optimizer("adamw", theta, 0.1, 0.2)
    assert (adam.decoupled, adamw.decoupled) == (False, True)
    assert (adam.lr, adam.weight_decay, adamw.lr, adamw.weight_decay) == (0.1, 0.2, 0.1, 0.2)
    with pytest.raises(ConfigError, match="unknown optimizer 'lion'; choose adam, adamw, sgd"):
        make_optimizer("lion", theta, 0.1, 0)


@pytest.mark.parametrize("kind, option, value", [
    (SGD, "lr", -1), (SGD, "momentum", 1), (SGD, "momentum", -0.1), (SGD, "weight_decay", -1e-3),
    (Adam, "lr", -1), (Adam, "betas", (1, 0.9)), (Adam, "betas", (0.9, -0.1)), (Adam, "eps", 0),
    (Adam, "weight_decay", -1),
])  # fmt: skip
def test_bad_arguments(kind, option, value):
    with refused(ConfigError, option, value):
        kind(on_device(np.ones(3)), **{option: value})


@FORMS
@pytest.mark.parametrize("g", [np.ones(4), np.ones((3, 1)), np.ones(3, dtype=np.float32)])
def test_a_gradient_of_another_shape_or_dtype(g, form):
    theta = on_device(np.ones(3))
    optimizer = in_form(Adam(theta), form)
    with pytest.raises(ValueError, match="Adam: expected a gradient"):
        optimizer.step(on_device(g))
    assert optimizer.t == 0 and (theta == 1).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_clip(dtype):
    g = on_device(np.array([3, 4], dtype=dtype))
    norm = clip_gradient_norm(g, 10)
    assert float(norm) == 5 and g.tolist() == [3, 4]  # short enough: left as it is
    assert float(clip_gradient_norm(g, 1)) == 5
    assert_allclose(g, [0.6, 0.8], rtol=1e-6)
    assert g.dtype == dtype
    zero = on_device(np.zeros(2, dtype=dtype))
    assert float(clip_gradient_norm(zero, 1)) == 0 and not zero.any()


@pytest.mark.parametrize(
    ("shape", "dtype"), [((4,), np.float32), ((3, 1), np.float32), ((3,), np.float64)]
)
def test_a_gradient_of_the_wrong_form(shape, dtype):
    theta = on_device(np.ones(3, dtype=np.float32))
    with refused(ValueError, "Adam: expected a gradient (3,) of float32"):
        Adam(theta).step(on_device(np.ones(shape, dtype=dtype)))
    assert (theta == 1).all()


@pytest.mark.parametrize("make", [
    lambda model: SGD(model, lr=math.nan), lambda model: SGD(model, lr="0.1"),
    lambda model: SGD(model, lr=math.inf), lambda model: SGD(model, lr=-1),
    lambda model: Adam(model, lr=None), lambda model: Adam(model, weight_decay=math.nan),
    lambda model: SGD(model, momentum=math.nan), lambda model: SGD(model, momentum="0.9"),
    lambda model: Adam(model, betas=0.9), lambda model: Adam(model, betas=(0.9,)),
    lambda model: Adam(model, betas=(0.9, math.nan)), lambda model: Adam(model, betas=("a", 0.9)),
    lambda model: Adam(model, eps=None), lambda model: Adam(model, eps=0),
    lambda model: clip_gradient_norm(on_device(np.ones(3)), None),
    lambda model: clip_gradient_norm(on_device(np.ones(3)), math.nan),
])  # fmt: skip
def test_settings_that_cannot_work_are_one_line(make):
    with refused(ConfigError, "must"):
        make(model())


@pytest.mark.parametrize("change", [
    lambda model: flatten(model),
    lambda model: model.to(dtype=np.float64),
    lambda model: model.params["0"].update(weight=model[0].params["weight"].copy()),
])  # fmt: skip
def test_a_model_that_was_changed_after_its_optimizer_was_made_still_learns(change):
    rng = np.random.default_rng(0)
    model = on_device(Sequential(Linear(3, 2, rng=rng)))
    optimizer = SGD(model, lr=0.5)
    change(model)
    x = rng.standard_normal((16, 3))
    labels = on_device((x[:, 0] > 0).astype(int))
    x = on_device(x.astype(model[0].params["weight"].dtype))
    for _ in range(100):
        logits, cache = model.forward(x)
        loss, dlogits = softmax_cross_entropy(logits, labels)
        model.backward(dlogits, cache, optimizer.grad)
        optimizer.step()
    assert float(loss) < 0.05
