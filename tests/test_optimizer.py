"""An optimizer follows its model, whatever is done to it."""

import copy
import pickle

import numpy as np
import pytest

import minialex as mx
from device import DEVICE, assert_array_equal, on_device, on_host
from dots import network
from minialex.attach import device_of
from minialex.params import flatten, named_arrays
from minialex.xp import to_device

OPTIMIZERS = {
    "sgd": lambda model: mx.SGD(model, lr=0.05),
    "adam": lambda model: mx.Adam(model, lr=3e-3),
    "adamw": lambda model: mx.Adam(model, lr=3e-3, weight_decay=0.01, decoupled=True),
}
each = pytest.mark.parametrize("name", OPTIMIZERS)


def step(model, optimizer):
    """A step of training on eight images, where and as the model is; the loss before."""
    weight = model[4].params["weight"]
    x = np.random.default_rng(1).standard_normal((8, 8, 8, 3)).astype(weight.dtype)
    x, labels = (to_device(a, device_of(model)) for a in (x, np.arange(8) % 2))
    logits, cache = model.forward(x)
    loss, dlogits = mx.softmax_cross_entropy(logits, labels)
    model.backward(dlogits, cache, optimizer.grad)
    optimizer.step()
    return float(loss)


def assert_theta_is_what_the_model_reads(model, optimizer):
    theta, arrays = optimizer.theta, [own[key] for own, key, _ in named_arrays(model.params)]
    assert theta.dtype == arrays[0].dtype and theta.size == sum(a.size for a in arrays)
    before = np.concatenate([on_host(a).ravel() for a in arrays])
    assert_array_equal(theta, before)
    theta += 1
    after = np.concatenate([on_host(a).ravel() for a in arrays])
    np.testing.assert_array_equal(after, before + np.float32(1))
    theta[...] = to_device(before, device_of(model))
    if isinstance(theta, np.ndarray):
        assert all(np.shares_memory(theta, a) for a in arrays)
    for vector in (optimizer.g, *optimizer.state.values()):
        assert (vector.shape, vector.dtype, type(vector)) == (theta.shape, theta.dtype, type(theta))


def assign(model):
    for own, key, _ in named_arrays(model.params):
        own[key] = own[key].copy()


def assign_one(model):
    weight = model[2].params["weight"]
    model[2].params["weight"] = weight.T.copy().T  # of another order in memory


def other_optimizer(model):
    mx.SGD(model, lr=1.0)


def there_and_back(model):
    model.to("cpu").to(DEVICE)


# What changes no number, and so no step that follows.
NOTHING = {
    "flatten": flatten, "assign": assign, "assign one": assign_one, "optimizer": other_optimizer,
    "float64 and back": lambda model: model.to(dtype=np.float64).to(dtype=np.float32),
    "cpu and back": there_and_back, "copy": copy.deepcopy, "accelerate": mx.accelerate,
    "plain": mx.plain, "describe": repr,
}  # fmt: skip


@each
@pytest.mark.parametrize("what", NOTHING)
def test_what_changes_no_number_changes_no_step(name, what):
    losses = []
    for act in (lambda model: None, NOTHING[what]):
        model = network()
        optimizer = OPTIMIZERS[name](model)
        losses.append([])
        for k in range(6):
            losses[-1].append(step(model, optimizer))
            if k in (1, 3):
                act(model)
        assert optimizer.t == 6
        assert_theta_is_what_the_model_reads(model, optimizer)
    exact = what not in ("accelerate", "plain")  # other forms round in another way
    assert losses[0] == (losses[1] if exact else pytest.approx(losses[1], rel=1e-5))
    assert losses[0][-1] < losses[0][0]


def double(model):
    model.to(dtype=np.float64)


def new_weights(model):
    other = np.random.default_rng(5).standard_normal((36, 8), dtype=np.float32) / 6
    model[2].params["weight"] = on_device(other)


def to_the_other(model):
    model.to("cpu" if device_of(model) == "gpu" else DEVICE)


@each
@pytest.mark.parametrize("act", [double, new_weights, to_the_other])
@pytest.mark.parametrize("form", [mx.accelerate, mx.plain])
def test_training_goes_on_after_any_change(name, act, form):
    model = network()
    optimizer = OPTIMIZERS[name](model)
    form(model, optimizer)
    step(model, optimizer)
    for _ in range(2):
        act(model)
        losses = [step(model, optimizer) for _ in range(12)]
        assert losses[-1] < losses[0]
        assert_theta_is_what_the_model_reads(model, optimizer)
    assert optimizer.t == 25


@pytest.mark.parametrize("act", [*NOTHING.values(), double])
def test_a_gradient_outlives_a_change_between_backward_and_step(act):
    ends = []
    for change in (lambda model: None, act):
        model = network()
        optimizer = mx.SGD(model, lr=0.1)
        grad = optimizer.grad
        x = on_device(np.ones((2, 8, 8, 3), np.float32))
        y, cache = model.forward(x)
        model.backward(y, cache, grad)
        change(model)
        optimizer.step()
        assert optimizer.grad is grad  # it may be kept, and backward goes on writing into it
        ends.append(on_host(optimizer.theta).astype(np.float32))
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-6, atol=1e-7)
    assert not np.array_equal(ends[0], on_host(flatten(network())))


def test_backward_writes_into_grad_which_is_the_vector_g():
    model = network()
    optimizer = mx.Adam(model)
    assert optimizer.grad.keys() == {"0", "2", "4"} == model.params.keys()
    optimizer.grad["2"]["bias"][...] = 3
    assert on_host(optimizer.g).sum() == 24
    own = mx.zeros_like(model.params)
    x = on_device(np.ones((2, 8, 8, 3), np.float32))
    y, cache = model.forward(x)
    model.backward(y, cache, own)
    model.backward(y, cache, optimizer.grad)
    got, want = (
        np.concatenate([on_host(o[key]).ravel() for o, key, _ in named_arrays(grad)])
        for grad in (optimizer.grad, own)
    )
    np.testing.assert_array_equal(got, want)
    assert_array_equal(optimizer.g, want)


@each
@pytest.mark.parametrize("how", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_copy_of_a_model_and_its_optimizer_trains_by_itself(name, how):
    model = network()
    optimizer = OPTIMIZERS[name](model)
    step(model, optimizer)
    theirs, their_optimizer = how((model, optimizer))
    theta = optimizer.theta.copy()
    losses = [step(theirs, their_optimizer) for _ in range(5)]
    assert_theta_is_what_the_model_reads(theirs, their_optimizer)
    assert_array_equal(optimizer.theta, on_host(theta))
    assert losses == [step(model, optimizer) for _ in range(5)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("plain", [True, False])
@each
def test_a_step_moves_those_parts_alone_that_are_its_own(name, plain):
    whole, part = network(), network()
    one, other = OPTIMIZERS[name](whole), OPTIMIZERS[name](part)
    if not plain:
        mx.accelerate(whole, one), mx.accelerate(part, other)
    before = on_host(other.theta).copy()
    assert other.own is None
    other.own = [slice(0, 5), slice(5, 40), slice(90, other.theta.size - 3)]
    for optimizer in (one, other):
        optimizer.grad  # noqa: B018 -- makes g
        optimizer.g += 0.5
        optimizer.step()
    assert "own" not in other.settings()
    moved = np.zeros(before.size, bool)
    for mine in other.own:
        moved[mine] = True
    pairs = [(one.theta, other.theta, before)]
    pairs += [(one.state[key], other.state[key], 0 * before) for key in one.state]
    for new, found, old in pairs:
        assert_array_equal(found, np.where(moved, on_host(new), old))
    mx.plain(part, other)
    assert other.own is None
