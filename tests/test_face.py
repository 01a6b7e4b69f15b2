"""The public face: what `import minialex as mx` offers, and that it prints what it holds."""

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import types

import numpy as np
import pytest

import minialex as mx
from bad_input import refused

FACE = {
    "SGD", "Adam", "AlexNet", "AvgPool2d", "Conv2d", "DataLoader", "Drawings", "Dropout", "Flatten",
    "ImageFolder", "Layer", "Linear", "LocalResponseNorm", "MaxPool2d", "MinialexError",
    "Predictor", "ReLU", "Sequential", "Sigmoid", "Tanh", "__version__", "accelerate", "evaluate",
    "fit", "gradcheck", "layers", "load", "optim", "plain", "save", "seed",
    "softmax_cross_entropy", "summary", "transforms", "zeros_like",
}  # fmt: skip


def test_the_names_are_these_and_all_exist():
    assert set(dir(mx)) == FACE and len(FACE) <= 36
    assert all(getattr(mx, name) is not None for name in FACE)
    assert {"cosine", "plateau", "step_decay", "constant", "warm_up"} <= set(dir(mx.optim))
    assert {"Compose", "Resize", "RandomCrop", "Normalize", "ToArray"} <= set(dir(mx.transforms))
    assert {"AdaptiveAvgPool2d", "BatchNorm2d", "GlobalAvgPool2d", "LeakyReLU"} <= set(
        mx.layers.__all__
    )


def test_no_module_has_the_name_of_something_else():
    for module in pkgutil.walk_packages(mx.__path__, "minialex."):
        parent, _, name = module.name.rpartition(".")
        found = getattr(importlib.import_module(parent), name, None)
        assert found is None or isinstance(found, types.ModuleType), module.name
    import minialex.gradient_check

    assert minialex.gradcheck is minialex.gradient_check.gradcheck


def test_help_of_fit_names_every_argument():
    known = {*re.findall(r"\w+", mx.fit.__doc__), "optimizer"}
    assert set(inspect.signature(mx.fit).parameters) <= known


def test_importing_is_quiet_and_does_not_bring_matplotlib_or_cupy():
    code = "import sys, minialex; print({'matplotlib', 'cupy', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("set()", "")


def test_layers_without_a_generator_draw_from_the_seed_and_their_number():
    mx.seed(7)
    first, second = mx.Conv2d(3, 4, 3), mx.Linear(5, 2)
    want = np.random.default_rng([7, 0]).standard_normal((3, 3, 3, 4), dtype=np.float32)
    np.testing.assert_allclose(first.params["weight"], want * np.sqrt(np.float32(2 / 27)), 1e-6)
    want = np.random.default_rng([7, 1]).standard_normal((5, 2), dtype=np.float32)
    np.testing.assert_allclose(second.params["weight"], want * np.sqrt(np.float32(2 / 5)), 1e-6)
    assert not np.array_equal(mx.Conv2d(3, 4, 3).params["weight"], first.params["weight"])
    mx.seed(7)
    mx.AlexNet(2, width=1 / 16, image_size=67)  # draws from its own seed
    np.testing.assert_array_equal(mx.Conv2d(3, 4, 3).params["weight"], first.params["weight"])
    one = mx.Dropout()
    assert one.seed == 7 and mx.Dropout(seed=3).seed == 3
    mx.seed(0)
    for bad in (-1, 1.5, "0", None):
        with refused(ValueError, "seed: n must be a whole number from 0 on"):
            mx.seed(bad)


def test_two_dropouts_made_alone_do_not_share_their_masks():
    ones = np.ones((50, 40), np.float32)
    a, b = mx.Dropout(), mx.Dropout()
    assert 0.4 < (a(ones) == b(ones)).mean() < 0.6


@pytest.mark.parametrize(
    "thing, words",
    [
        (mx.Sequential(mx.Conv2d(3, 4, 3), mx.ReLU()), ["(0): Conv2d(3, 4, 3)", "(1): ReLU()"]),
        (mx.SGD(mx.Linear(3, 2)), ["SGD(lr=0.01", "momentum=0.9: 8 parameters, 0 steps made"]),
        (mx.Adam(mx.Linear(3, 2), lr=1e-3), ["Adam(lr=0.001", "betas=[0.9, 0.999]"]),
        (mx.Drawings(4, size=32), ["Drawings(", "4", "32"]),
        (mx.DataLoader(mx.Drawings(4, size=32), 2), ["4 samples", "2 batches of 2", "Drawings("]),
        (mx.AlexNet(2, width=1 / 16, image_size=67), ["(features): Sequential(", "(0): Conv2d(3"]),
        (mx.Layer(), ["Layer()"]),
    ],
)
def test_things_print_what_they_hold(thing, words):
    text = repr(thing)
    assert " at 0x" not in text
    for word in words:
        assert word in text


def test_layers_are_found_where_checkpoints_say():
    model = mx.AlexNet(2, width=1 / 16, image_size=67)
    assert dict(model.leaves())["features.0"] is model.features[0] is model[0][0]
    mx.accelerate(model)
    assert dict(model.leaves())["classifier.6"] is model.classifier[6]


@pytest.mark.parametrize(
    "make, error, words",
    [
        (lambda: mx.Adam(mx.Linear(3, 2).params), TypeError, "Adam: expected a model"),
        (lambda: mx.SGD([1, 2]), TypeError, "SGD: expected a model"),
        (lambda: mx.Adam(mx.ReLU()), ValueError, "ReLU has no parameters"),
        (lambda: mx.Conv2d(3, 8, (3, 3, 3)), ValueError, r"kernel_size must be a whole number"),
        (lambda: mx.Conv2d(3, 8, 3, rng=0), TypeError, "Conv2d: rng must be a generator, got 0"),
        (lambda: mx.Sequential([mx.ReLU()]), TypeError, "Sequential: expected layers"),
    ],
)
def test_mistakes_have_one_line(make, error, words):
    with refused(error, words):
        make()
