"""The roofline: its counts against formulas derived independently, its times against arithmetic."""

import numpy as np
import pytest

import roofline as program
from bad_input import refused
from device import DEVICE
from minialex.errors import ConfigError
from minialex.layers import Conv2d, Dropout, Layer, Linear, LocalResponseNorm, MaxPool2d, ReLU
from minialex.models import AlexNet
from minialex.params import count_parameters
from roofline_model import (
    LayerWork,
    Machine,
    Work,
    layer_work,
    predicted_seconds,
    step_work,
    table,
    total,
)

RNG = np.random.default_rng(0)
SIDES = ((55, 11), (27, 5), (13, 3), (13, 3), (13, 3))  # of the outputs, of the kernels
# Of each convolution: the input channels that a filter sees, and the filters.
CONVOLUTIONS = {
    "ungrouped": ((3, 96), (96, 256), (256, 384), (384, 384), (384, 256)),
    "2012": ((3, 96), (48, 256), (256, 384), (192, 384), (192, 256)),
    "owt": ((3, 64), (64, 192), (192, 384), (384, 256), (256, 256)),
}
GFLOP = {"ungrouped": 842, "2012": 526, "owt": 527}  # products of a step, batch 128, two classes


def products(rows):
    return [work for row in rows for work in (*row.forward, *row.backward) if work.is_product]


@pytest.mark.parametrize("variant", CONVOLUTIONS)
def test_the_products_of_a_step(variant):
    sizes = zip(SIDES, CONVOLUTIONS[variant], strict=True)
    multiply_adds = [side**2 * k**2 * c * f for (side, k), (c, f) in sizes]
    multiply_adds += [6 * 6 * 256 * 4096, 4096 * 4096, 4096 * 2]
    # The first layer has no input gradient.
    expected = 128 * 2 * (3 * sum(multiply_adds) - multiply_adds[0])
    model = AlexNet(2, variant)
    assert total(products(step_work(model, 128))).flops == expected
    assert round(expected / 1e9) == GFLOP[variant]


def test_a_convolution_by_hand():
    layer = Conv2d(4, 6, 3, padding=1, groups=2, rng=RNG)
    # Two images of 5 x 5: 50 positions, in each group 9 * 2 columns and 3 filters.
    x, columns, weight, y = 50 * 4, 2 * 50 * 18, 18 * 6, 50 * 6
    product = Work(2 * 2 * 50 * 18 * 3, 4 * (columns + weight + y), True)
    forward, backward = layer_work(layer, (5, 5, 4), 2)
    assert forward == [Work(0, 4 * (x + columns)), product, Work(y, 4 * 2 * y)]
    assert backward == [
        Work(0, 4 * (x + columns)),
        product,
        Work(y, 4 * y),
        product,
        Work(columns, 4 * (columns + x)),
    ]
    assert layer_work(layer, (5, 5, 4), 2, first=True) == (forward, backward[:3])


def test_the_other_layers_by_hand():
    forward, backward = layer_work(Linear(10, 3, rng=RNG), (10,), 8)
    assert forward[0] == Work(2 * 8 * 30, 4 * (80 + 30 + 24), True)
    assert [len(forward), len(backward)] == [2, 3]
    assert layer_work(ReLU(), (2, 3, 5), 4) == ([Work(120, 960)], [Work(120, 1440)])
    # 4 images of 7 x 7 x 2 = 392 elements become 4 * 3 * 3 * 2 = 72, each with the position of its
    # maximum, a byte.
    pool = Work(9 * 72, 4 * (392 + 72) + 72)
    assert layer_work(MaxPool2d(3, stride=2), (7, 7, 2), 4) == ([pool], [pool])
    assert [w.bytes for w in layer_work(LocalResponseNorm(5), (2, 3, 5), 4)[0]] == [4 * 3 * 120]
    assert [w.bytes for w in layer_work(Dropout(0.5), (10,), 3)[0]] == [360]


def test_what_is_not_in_a_layer():
    rows = step_work(AlexNet(2, width=1 / 16, image_size=67), 4)
    assert rows[0] == LayerWork("pixels", [Work(3 * 4 * 67 * 67 * 3, 5 * 4 * 67 * 67 * 3)], [])
    parameters = count_parameters(AlexNet(2, width=1 / 16, image_size=67).params)
    assert rows[-1].name == "Adam" and rows[-1].backward[0].bytes == 7 * 4 * parameters


def test_every_layer_of_every_variant_is_known():
    for variant in CONVOLUTIONS:
        for lrn in (False, True):
            model = AlexNet(2, variant, lrn=lrn, width=1 / 16)
            assert len(step_work(model, 2)) == 2 + len(list(model.leaves()))
    with pytest.raises(TypeError, match="no kernels are known for Layer"):
        layer_work(Layer(), (3,), 2)


def test_the_time_of_a_kernel():
    machine = Machine(peak=100, bandwidth=10, products=1000)
    assert Work(200, 10).seconds(machine) == 2 and not Work(200, 10).waits_for_memory(machine)
    assert Work(200, 50).seconds(machine) == 5 and Work(200, 50).waits_for_memory(machine)
    assert Work(200, 1, True).seconds(machine) == 0.2
    assert Work(200, 1, True).seconds(Machine(100, 10)) == 2


def test_the_time_of_a_step():
    rows = step_work(AlexNet(2, width=1 / 4), 8)
    everything = total(work for row in rows for work in (*row.forward, *row.backward))
    assert predicted_seconds(rows, Machine(1e30, 1e9)) == pytest.approx(everything.bytes / 1e9)
    assert predicted_seconds(rows, Machine(1e9, 1e30)) == pytest.approx(everything.flops / 1e9)


def test_the_table_adds_up():
    lines = table(AlexNet(2, width=1 / 4), 8, Machine()).splitlines()
    rows = [line.split() for line in lines[2:] if line.startswith(("features", "classifier"))]
    step = next(line.split()[2:] for line in lines if line.startswith("a step"))
    pixels = next(line.split()[1:] for line in lines if line.startswith("pixels"))
    forward_mb = sum(float(row[3].replace(",", "")) for row in rows if row[1] != "Flatten")
    assert float(step[1].replace(",", "")) == pytest.approx(forward_mb + float(pixels[1]), abs=1)


SMALL = ["--width", "0.05", "--image-size", "67", "--batch-size", "2"]


def test_as_a_program(capsys, monkeypatch):
    monkeypatch.setattr(program, "allow_tf32", lambda: None)  # not for the tests after this one
    assert program.main([*SMALL, "--tf32"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "a training step of AlexNet (ungrouped) on 2 images of 67 pixels"
    assert any(line.startswith("PREDICTION, not measured: ") for line in lines)
    assert "at 67 TFLOP/s (494.5 in products) and 3,350 GB/s" in lines[-2]
    if DEVICE == "gpu":
        assert lines[-1].startswith("measured: ") and " ms, " in lines[-1]


@pytest.mark.parametrize("options, expected", [([], ["ask"]), (["--tf32"], ["tf32", "ask"])])
def test_what_is_measured_is_what_is_predicted(options, expected, monkeypatch):
    calls = []
    monkeypatch.setattr(program, "allow_tf32", lambda: calls.append("tf32"))
    # Whoever asks whether there is a GPU makes a product, and CuPy chooses once in a process.
    monkeypatch.setattr(program, "gpu_problem", lambda: calls.append("ask") or "there is none")
    assert program.main([*SMALL, *options]) == 0 and calls == expected


def test_another_gpu():
    options = program.parser().parse_args(["--peak", "10", "--bandwidth", "100", "--tf32"])
    assert program.machine(options) == Machine(10e12, 100e9, 10e12)
    assert program.machine(program.parser().parse_args([])) == Machine()


@pytest.mark.parametrize("option", ["--batch-size=0", "--peak=0", "--bandwidth=-1", "--peak=nan"])
def test_bad_numbers(option):
    with refused(ConfigError, option.partition("=")[0], "above 0"):
        program.main([*SMALL, option])
