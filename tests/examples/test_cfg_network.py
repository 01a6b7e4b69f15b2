"""The reader of Krizhevsky's files, on small files of our own in that format."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import minialex as mx
from bad_input import refused
from minialex.errors import ConfigError
from minialex.gradient_check import gradcheck
from minialex.params import count_parameters, named_arrays

ROOT = Path(mx.__file__).parents[1]
spec = importlib.util.spec_from_file_location("cfg_network", ROOT / "examples" / "cfg_network.py")
cfg = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cfg)


def section(name, kind, **options):
    rows = "".join(f"{key}={value}\n" for key, value in options.items())
    return f"[{name}]\ntype={kind}\n{rows}\n"


def two_columns(filters, hidden, classes):
    """The layers of run 145, of `filters` a column; a and b are its columns."""
    c1, c2, c3, c4, c5 = filters
    text = section("data", "data", dataIdx=0) + section("labels", "data", dataIdx=1)

    def both(name, kind, reads, shared=False, **options):
        found = ""
        for column in "ab":
            inputs = [f"{reads}{c}" for c in ("ab" if shared else column)]
            inputs = [] if reads is None else ["data"] if reads == "data" else inputs
            found += section(name + column, kind, inputs=",".join(inputs), **options)
        return found

    relu, std = {"neuron": "relu"}, {"initW": 0.01}
    pool = {"pool": "max", "sizeX": 3, "stride": 2}
    text += both("c1", "conv", "data", channels=3, filters=c1, filterSize=11, stride=4, **std)
    text += both("n1", "cmrnorm", "c1", channels=c1, size=5)
    text += both("p1", "pool", "n1", channels=c1, **pool, **relu)
    text += both(
        "c2", "conv", "p1", channels=c1, filters=c2, filterSize=5, padding=2, initB=1, **std, **relu
    )
    text += both("n2", "cmrnorm", "c2", channels=c2, size=5) + both("m2", "rnorm", "n2", size=5)
    text += both("p2", "pool", "m2", **pool)
    three = {"filterSize": "3", "padding": "1", "initW": 0.03}
    cross = {"filterSize": "3,3", "padding": "1,1", "initW": "0.03,0.03"}
    text += both("c3", "conv", "p2", True, filters=f"{c3},{c3}", **cross, **relu)
    text += both("c4", "conv", "c3", filters=c4, initB=1, **three, **relu)
    text += both("c5", "conv", "c4", filters=c5, initB=1, **three)
    text += both("p3", "pool", "c5", **pool, **relu)
    text += both("f6", "fc", "p3", True, outputs=hidden, initB=1, **std, **relu)
    text += both("d6", "hs", "f6", keep=0.5)
    text += both("f7", "fc", "d6", True, outputs=hidden, initB=1, **std, **relu)
    text += both("d7", "hs", "f7", keep=0.5)
    text += section("f8", "fc", inputs="d7a,d7b", outputs=classes, initW="0.01,0.01")
    return (
        text + section("p", "softmax", inputs="f8") + section("l", "cost.logreg", inputs="labels,p")
    )


def parameters(text):
    """How layers of a text are trained, and the numbers of its norms."""
    rows = ""
    for name in cfg_names(text):
        if name[0] in "cf":
            rows += f"[{name}]\nepsW=0.01,0.01\nepsB=0.02\nmomW=0.9\nmomB=0.9\nwc=0.0005\n\n"
        if name[0] == "n":
            rows += f"[{name}]\nscale=0.0001\npow=0.75\nminDiv=2\n\n"
        if name[0] == "m":
            rows += f"[{name}]\nscale=0.001\npow=0.75\n\n"
    return rows


def cfg_names(text):
    return [line.strip("[]") for line in text.splitlines() if line.startswith("[")]


@pytest.fixture
def read(tmp_path):
    """Writes the two files; the layers that the program reads there."""

    def write(text, more=None):
        paths = tmp_path / "layers-own.cfg", tmp_path / "layer-params-own.cfg"
        merged = parameters(text) if more is None else more
        for path, lines in zip(paths, (text, merged), strict=True):
            path.write_text(lines, "utf-8")
        return cfg.sections(*paths)

    return write


def test_two_columns_are_the_variant(read):
    model, weighted = cfg.build(read(two_columns((3, 8, 12, 12, 8), 128, 10)), side=224)
    variant = mx.AlexNet(10, "2012-program", width=1 / 16, init="program")
    assert count_parameters(model.params) == count_parameters(variant.params)
    theirs = [own[key] for own, key, _ in named_arrays(variant.params)]
    ours = [own[key] for own, key, _ in named_arrays(model.params)]
    for own, their in zip(ours, theirs, strict=True):
        assert own.shape == their.shape
        if own.ndim > 1:
            assert own.std() == pytest.approx(their.std(), rel=0.1)
        else:
            assert own.tolist() == their.tolist()
        own[...] = their
    shape, sides = (224, 224, 3), []
    for layer in model.layers:
        shape = layer.output_shape(shape)
        sides += [shape[0]] * isinstance(layer, mx.Conv2d | mx.MaxPool2d)
    assert sides == [55, 27, 27, 13, 13, 13, 13, 6]
    x = np.random.default_rng(0).standard_normal((2, 224, 224, 3)).astype(np.float32) * 50
    np.testing.assert_allclose(model.eval()(x), variant.eval()(x), rtol=1e-6, atol=1e-7)
    made = cfg.optimizer_of(model, weighted)
    assert (made.lr, made.weight_decay, made.momentum) == (0.02, 5e-4, 0.9)
    assert made.settings()["lr"]["0.weight"] == 0.01


SHARED = (
    section("data", "data", dataIdx=0)
    + section("c1", "conv", inputs="data", channels=3, filters=8, padding=2, filterSize=5,
              neuron="relu", initW=0.05)
    + section("p1", "pool", pool="max", inputs="c1", sizeX=3, stride=2)
    + section("r1", "rnorm", inputs="p1", channels=8, sizeX=3, scale=0.00005, pow=".75")
    + section("c2", "conv", inputs="r1", channels=8, filters=8, padding=2, filterSize=5,
              neuron="relu", initW=0.05)
    + section("p2", "pool", pool="avg", inputs="c2", start=0, sizeX=3, stride=2, outputsX=0)
    + section("f", "fc", inputs="p2", outputs=2, initW=0.05, neuron="ident")
    + section("p", "softmax", inputs="f")
)  # fmt: skip
TRAINED = "".join(
    f"[{name}]\nepsW=0.001\nepsB=0.002\nmomW=0.9\nwc=0.004\n\n" for name in ("c1", "c2", "f")
)


def test_a_network_of_shared_convolutions_trains_on_drawings(read):
    model, weighted = cfg.build(read(SHARED, TRAINED), side=32)
    shape, sides = (32, 32, 3), []
    for layer in model.layers:
        shape = layer.output_shape(shape)
        sides += [shape[0]]
    assert sides == [32, 32, 16, 16, 16, 16, 8, 512, 2]
    assert model[3].alpha == 0.00005 / 9
    optimizer, losses = cfg.optimizer_of(model, weighted), []
    images = [*mx.Drawings(64, size=32)]
    x = np.stack([np.asarray(image, np.float32) - 127 for image, _ in images])
    labels = np.array([label for _, label in images])
    for _ in range(12):
        logits, cache = model.forward(x)
        loss, dlogits = mx.softmax_cross_entropy(logits, labels)
        model.backward(dlogits, cache, optimizer.grad)
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("side", [5, 6, 7])
def test_a_mean_over_the_edge_is_of_what_is_there(side):
    layer, x = cfg.MeanPool2d(3, 2), np.random.default_rng(0).standard_normal((2, side, side, 2))
    y = layer(x)
    assert y.shape == (2, *[-(-(side - 3) // 2) + 1] * 2, 2)
    np.testing.assert_allclose(y[:, -1, -1], x[:, 2 * (y.shape[1] - 1) :, 2 * (y.shape[2] - 1) :]
        .mean(axis=(1, 2)))  # fmt: skip
    gradcheck(layer, x).raise_if_bad()


@pytest.mark.parametrize("old, new, words", [
    ("type=rnorm", "type=local", "layer 'r1': minialex has no layer of type 'local'"),
    ("pool=avg", "pool=rand", "layer 'p2': minialex has no layer of type 'pool rand'"),
    ("neuron=ident", "neuron=square", "layer 'f': minialex has no neuron of type 'square'"),
    ("filters=8", "filters=eight", "layer 'c1': filters must be one number, not 'eight'"),
    ("inputs=r1", "inputs=p1", "are no chain"),
    ("[data]", "[data", "is no file of layers"),
    ("padding=2", "sharedBiases=0", "layer 'c1': minialex has no sharedBiases=0"),
    ("padding=2", "sharedBiases=False", "layer 'c1': minialex has no sharedBiases=False"),
    ("padding=2", "randSparse=1", "layer 'c1': minialex has no randSparse=1"),
    ("pow=.75", "pow=.75\nblocked=true", "layer 'r1': minialex has no blocked=true"),
    ("outputsX=0", "outputsX=5", "layer 'p2': minialex has no outputsX=5"),
])  # fmt: skip
def test_what_minialex_has_not_is_refused_by_name(old, new, words, read):
    with refused(ConfigError, words):
        cfg.build(read(SHARED.replace(old, new, 1), TRAINED), side=32)


def test_files_and_columns_that_do_not_fit_are_refused(tmp_path, read):
    with refused(ConfigError, "is no file of layers"):
        cfg.sections(tmp_path / "no.cfg")
    text = two_columns((2, 2, 2, 2, 2), 4, 2).replace("inputs=p1a\n", "inputs=p1a,p1b\n", 1)
    with refused(ConfigError, "'c2a': its columns read [2, 1] of 2 columns"):
        cfg.build(read(text))
    with refused(ConfigError, "there is no layer that reads the data"):
        cfg.build(read(section("data", "data"), ""))


def test_groups_are_of_one_column_that_nobody_else_reads(read):
    usual = {"sharedBiases": "true", "randSparse": "0", "groups": 2}
    conv = {"filterSize": 3, "filters": 4, "initW": 0.01, **usual}
    text = section("data", "data") + "".join(
        section(f"c{c}", "conv", inputs="data", channels=3, **{**conv, "groups": 1}) for c in "ab"
    )
    apart = "".join(section(f"d{c}", "conv", inputs=f"c{c}", **conv) for c in "ab")
    model, _ = cfg.build(read(text + apart), side=9)
    assert (model[1].groups, model[1].out_channels) == (4, 16)
    both = "".join(section(f"d{c}", "conv", inputs="ca,cb", **conv) for c in "ab")
    for more in (both, section("d", "conv", inputs="ca,cb", **conv)):
        with refused(ConfigError, "groups=2 needs a column of its own to read"):
            cfg.build(read(text + more), side=9)


def test_rates_of_later_versions_have_a_base():
    own = {"epsW": "dexp[base=0.01;tgtFactor=250;numSteps=4]"}
    assert cfg.number("c", own, "epsW") == 0.01
