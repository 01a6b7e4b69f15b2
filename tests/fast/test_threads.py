"""Threads: the same results in the same order, however many threads there are and whatever their timing."""

import time

import numpy as np
import pytest

import tiny_run
from minialex.fast import threads
from minialex.fast.threads import map_threads, product


def test_items_are_dealt_out_in_turn_and_results_keep_their_order():
    def late(i):
        time.sleep(0.002 * (7 - i))
        return i * i

    assert map_threads(late, range(7), workers=3) == [i * i for i in range(7)]
    assert map_threads(late, [], workers=3) == []


def test_inside_a_thread_everything_runs_in_that_thread():
    assert map_threads(lambda i: map_threads(lambda j: i * j, range(4), 2), range(3), 3) == [
        [0, 0, 0, 0], [0, 1, 2, 3], [0, 2, 4, 6]
    ]  # fmt: skip


def test_an_error_in_a_thread_reaches_the_caller():
    with pytest.raises(ZeroDivisionError):
        map_threads(lambda i: 1 // i, [1, 0, 1], workers=2)


@pytest.mark.parametrize("cores", [1, 2, 3])
@pytest.mark.parametrize("shape", [(7, 301, 520), (300, 64, 70), (1, 1100, 1000), (1000, 1100, 1), (2, 3, 4)])
def test_product_is_the_plain_product(monkeypatch, shape, cores):
    monkeypatch.setattr(threads, "cpu_count", lambda: cores)
    (M, K, N), rng = shape, np.random.default_rng(0)
    for order in ("C", "F"):
        a, b = (np.asarray(rng.standard_normal(size), order=order) for size in ((M, K), (K, N)))
        plain = np.einsum("mk,kn->mn", a, b)
        y, out = product(a, b), np.full((M, N), np.nan)
        assert product(a, b, out=out) is out
        for found in (y, out):
            assert found.flags.c_contiguous
            np.testing.assert_allclose(found, plain, rtol=0, atol=1e-10)


def test_product_keeps_the_dtype():
    assert product(np.ones((64, 300), np.float32), np.ones((300, 90), np.float32)).dtype == np.float32


def test_a_process_can_be_held_to_fewer_cores(monkeypatch):
    monkeypatch.setattr(threads, "_limit", None)
    with threads._blas().limit(limits=None):  # gives back what is changed inside
        cores = threads.cpu_count()
        threads.limit_threads(1)
        assert threads.cpu_count() == 1
        threads.limit_threads(cores + 5)
        assert threads.cpu_count() == cores


def test_a_training_run_can_be_held_to_fewer_cores(monkeypatch, tmp_path):
    monkeypatch.setattr(threads, "_limit", None)
    with threads._blas().limit(limits=None):
        assert tiny_run.main(["--out", str(tmp_path / "run"), "--threads", "1"]) == 0
        assert threads.cpu_count() == 1


@pytest.mark.parametrize("most", [1 << 30, 1 << 25])
def test_freed_memory_is_kept_as_far_as_the_c_library_allows(monkeypatch, most):
    settings = {}

    class Library:
        @staticmethod
        def mallopt(option, value):
            if option == -3 and value > most:
                return 0
            settings[option] = value
            return 1

    monkeypatch.setattr(threads.ctypes, "CDLL", lambda name: Library)
    threads._keep_memory()
    assert settings == {-8: 1, -3: most, -1: -1}


def test_another_c_library_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(threads.ctypes, "CDLL", lambda name: object())
    threads._keep_memory()
