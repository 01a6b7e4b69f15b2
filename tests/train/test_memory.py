"""A training step in a given memory: the formula, and chunks that give what the batch gives."""

import re
import tracemalloc

import numpy as np
import pytest

import tiny_run
from chunked import BatchGradient
from device import DEVICE, assert_allclose, on_device, on_host
from minialex.attach import accelerate, plain
from minialex.errors import ConfigError
from minialex.models import AlexNet
from minialex.train.memory import largest_chunk, parse_bytes, show_bytes, step_bytes
from minialex.use.summary import summary

IMAGE = (67, 67, 3)


def gradient(form, chunk, dtype, variant="2012", N=5, step=1 << 33):
    """Loss, right answers and gradient of a batch of N in chunks; Dropout is on."""
    model = AlexNet(3, variant, width=1 / 16, image_size=67, seed=2, dropout=0.3).to(DEVICE, dtype)
    form(model)
    rng = np.random.default_rng(0)
    x = on_device(rng.standard_normal((N, *IMAGE)).astype(dtype))
    labels = on_device(np.arange(N) % 3)
    of_batch = BatchGradient(model, chunk, N, label_smoothing=0.1)
    loss, correct = of_batch(x, labels, step)
    return float(loss), int(correct), on_host(of_batch.g)


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 3e-6), (np.float64, 1e-13)])
# With Dropout after and before the Linear layers.
@pytest.mark.parametrize("variant", ["2012", "owt"])
# On a GPU, gpu/test_accelerated.py takes others.
@pytest.mark.parametrize("chunk", [1, 2, 3, 4, 5, 7] if DEVICE == "cpu" else [2, 7])
@pytest.mark.parametrize("form", [accelerate, plain], ids=["twins", "pages"])
def test_chunks_sum_up_to_the_batch(form, chunk, variant, dtype, tolerance):
    whole, parts = (gradient(form, n, dtype, variant) for n in (5, chunk))
    assert parts[0] == pytest.approx(whole[0], rel=tolerance) and parts[1] == whole[1]
    assert abs(whole[2]).max() > 0.01
    assert_allclose(parts[2], whole[2], rtol=0, atol=tolerance * abs(whole[2]).max())


def test_chunks_give_the_same_bits_each_time():
    first, second = (gradient(accelerate, 2, np.float32)[2] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def losses(folder, **options):
    # Without im2col's columns, so narrow a network needs least memory for the whole batch.
    options |= {"algorithm": "im2col"} if DEVICE == "gpu" else {}
    run = tiny_run.training(folder, length=10, batch_size=5, epochs=2, lr=1e-4, **options)
    steps = tiny_run.watched(run)
    theta = tiny_run.last_weights(run)
    return run, [loss for _, _, loss in steps], theta


def test_a_run_in_little_memory_is_the_same_run(tmp_path):
    whole, losses_whole, theta_whole = losses(tmp_path / "whole")
    limit = step_bytes(whole.model, IMAGE, 5, 2)
    parts, losses_parts, theta_parts = losses(tmp_path / "parts", memory_limit=limit)
    assert (whole.chunks.size, parts.chunks.size) == (5, 2)
    assert (whole.val.batch_size, parts.val.batch_size) == (5, 2)
    assert_allclose(losses_parts, losses_whole, rtol=0, atol=1e-5)
    # Adam divides by what may be rounding alone.
    assert_allclose(theta_parts, theta_whole, rtol=0, atol=1e-4)
    assert losses_whole[0] != losses_whole[-1]


def test_the_chunk_is_the_largest_that_fits():
    model = AlexNet(2, width=1 / 16, image_size=67)
    needed = [step_bytes(model, IMAGE, 8, chunk) for chunk in range(1, 9)]
    for chunk in range(1, 8):
        assert largest_chunk(model, IMAGE, 8, needed[chunk - 1]) == chunk
        assert largest_chunk(model, IMAGE, 8, needed[chunk - 1] + 1) == chunk
    assert largest_chunk(model, IMAGE, 8, needed[7]) == largest_chunk(model, IMAGE, 8, None) == 8
    with pytest.raises(
        ConfigError, match=r"--memory-limit .* is too little: with one image .* takes [\d.]+ MB"
    ):
        largest_chunk(model, IMAGE, 8, needed[0] - 1)


def test_chunks_of_two_and_of_one_image():
    model = AlexNet(2, width=1 / 16, image_size=67)
    whole = step_bytes(model, IMAGE, 2)
    in_ones = step_bytes(model, IMAGE, 2, 1)  # more vectors, fewer images
    if in_ones < whole:
        assert largest_chunk(model, IMAGE, 2, whole - 1) == 1
    one = step_bytes(model, IMAGE, 1)
    assert largest_chunk(model, IMAGE, 1, one) == 1
    with pytest.raises(ConfigError, match="too little"):
        largest_chunk(model, IMAGE, 1, one - 1)


@pytest.mark.parametrize(
    "text, count",
    [
        ("2GB", 2 * 10**9),
        ("1.5 gb", 1500000000),
        ("800M", 8 * 10**8),
        (" 5kB ", 5000),
        ("123", 123),
        ("1TB", 10**12),
    ],
)
def test_bytes_are_read(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize(
    "text", ["", "GB", "-1GB", "0", "0.0GB", "2GiB", "1e9", "2 GB GB", "nan", "two", "1,5GB"]
)
def test_what_is_no_number_of_bytes_is_refused(text):
    with pytest.raises(ConfigError, match=f"--memory-limit: cannot understand '{re.escape(text)}'"):
        parse_bytes(text)


def test_bytes_are_shown():
    shown = [show_bytes(n) for n in (1_250_000_000, 123_456_789, 50_000)]
    assert shown == ["1.25 GB", "123.5 MB", "0.1 MB"]


def test_the_summary_prints_the_formula():
    model = AlexNet(10, width=1 / 4)
    fixed = step_bytes(model, model.input_shape, 0)
    each = step_bytes(model, model.input_shape, 7) - step_bytes(model, model.input_shape, 6)
    assert step_bytes(model, model.input_shape, 100) == fixed + 100 * each
    line = f"training step with Adam: {show_bytes(fixed)} + {show_bytes(each)} per image"
    assert f"peak of an accelerated {line}" in summary(model, model.input_shape)


@pytest.mark.skipif(
    DEVICE == "gpu", reason="there, gpu/test_step_costs.py holds the device's memory to the formula"
)
@pytest.mark.parametrize(
    "variant, batch_size, limit", [("2012", 64, None), ("ungrouped", 64, 50), ("owt", 16, None)]
)
def test_the_cpu_needs_no_more_than_the_formula(variant, batch_size, limit, tmp_path):
    options = {
        "variant": variant,
        "image_size": 131,
        "batch_size": batch_size,
        "memory_limit": limit and limit * 10**6,
    }
    tracemalloc.start()
    try:
        run = tiny_run.training(tmp_path, length=2 * batch_size, **options)
        x = np.zeros((batch_size, 131, 131, 3), dtype=np.float32)
        run.step(x, np.zeros(batch_size, dtype=np.int64))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    chunk = run.chunks.size
    assert (chunk < batch_size) == (limit is not None)
    assert peak <= step_bytes(run.model, run.model.input_shape, batch_size, chunk)
