"""Threads: the same results, however many threads there are and whatever their timing."""

import contextlib
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import minialex as mx
import tiny_run
from minialex.fast import threads
from minialex.fast.threads import map_threads, one_blas_thread, product, products


@pytest.fixture
def three_threads(monkeypatch):
    monkeypatch.setattr(threads, "_limit", 3)


def test_results_keep_the_order_of_the_items(three_threads):
    def late(i):
        time.sleep(0.002 * (7 - i))
        return i * i

    assert map_threads(late, range(7)) == [i * i for i in range(7)]
    assert map_threads(late, []) == []


def test_inside_a_thread_everything_runs_in_that_thread(three_threads):
    assert map_threads(lambda i: map_threads(lambda j: i * j, range(4)), range(3)) == [
        [0, 0, 0, 0], [0, 1, 2, 3], [0, 2, 4, 6]
    ]  # fmt: skip


def test_an_error_in_a_thread_reaches_the_caller(three_threads):
    with pytest.raises(ZeroDivisionError):
        map_threads(lambda i: 1 // i, [1, 0, 1])


def blas_threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_products_inside_are_single_threaded_and_all_is_given_back():
    before = blas_threads()

    def look(_):
        with one_blas_thread():
            time.sleep(0.01)
            return blas_threads()

    callers = [threading.Thread(target=map_threads, args=(look, range(4))) for _ in range(3)]
    for caller in callers:
        caller.start()
    assert map_threads(look, range(4)) == [{1}] * 4
    for caller in callers:
        caller.join()
    assert blas_threads() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_of_a_fork_has_threads_of_its_own(three_threads):
    assert map_threads(lambda i: i, range(3)) == [0, 1, 2]
    child = os.fork()
    if child == 0:
        os._exit(0 if map_threads(lambda i: i, range(3)) == [0, 1, 2] else 1)
    for _ in range(1000):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.01)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert done and status == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("busy", [False, True])
def test_a_forked_child_predicts_and_trains(three_threads, tmp_path, busy):
    """Also one that is forked while another thread is in the middle of a product."""
    model = mx.accelerate(mx.AlexNet(2, width=1 / 16, image_size=67)).train(False)
    x = np.ones((20, 67, 67, 3), np.float32)
    expected, before = model(x), blas_threads()
    inside, leave = threading.Event(), threading.Event()
    other = threading.Thread(
        target=map_threads, args=(lambda _: (inside.set(), leave.wait()), range(3))
    )
    if busy:
        other.start()
        inside.wait()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            np.testing.assert_array_equal(model(x), expected)
            tiny_run.training(tmp_path / "run", epochs=1).train()
            os._exit(0 if blas_threads() == before else 2)
        os._exit(1)
    leave.set()
    for _ in range(3000):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.01)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert done and status == 0
    if busy:
        other.join()


@pytest.mark.parametrize("most", [0, 1, 2])
def test_where_no_thread_can_be_started_the_caller_does_the_work(monkeypatch, tmp_path, most):
    """As in a browser, or under a limit of processes: Python raises RuntimeError then."""
    monkeypatch.setattr(threads, "_limit", 3)
    threads._pool.cache_clear()
    started, real = [], threading.Thread.start

    def start(self):
        if len(started) >= most:
            raise RuntimeError("can't start new thread")
        started.append(self)
        real(self)

    whole = tiny_run.last_weights(tiny_run.training(tmp_path / "whole", epochs=1))
    threads._pool.cache_clear()
    monkeypatch.setattr(threading.Thread, "start", start)
    callers = map_threads(lambda i: threading.get_ident(), range(7))
    assert callers == [threading.get_ident()] * 7
    found = tiny_run.last_weights(tiny_run.training(tmp_path / "run", epochs=1))
    np.testing.assert_array_equal(found, whole)
    threads._pool.cache_clear()


def test_after_answers_from_several_threads_products_have_their_threads_back(monkeypatch):
    monkeypatch.setattr(threads, "_limit", None)
    model = mx.accelerate(mx.AlexNet(2, width=1 / 16, image_size=67)).train(False)
    x = np.ones((4, 67, 67, 3), np.float32)
    threads.limit_threads(2)
    assert blas_threads() == {2}
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: model(x), range(30)))
    assert blas_threads() == {2}
    for answer in answers:
        np.testing.assert_array_equal(answer, answers[0])
    threads.limit_threads(None)


@pytest.mark.parametrize("cores", [1, 2, 3])
@pytest.mark.parametrize(
    "shape", [(7, 301, 520), (300, 64, 70), (1, 1100, 1000), (1000, 1100, 1), (2, 3, 4)]
)
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
    a, b = np.ones((64, 300), np.float32), np.ones((300, 90), np.float32)
    assert product(a, b).dtype == np.float32


@pytest.mark.parametrize(
    "shape", [(128, 9216, 512), (9216, 32, 512), (1, 4096, 1000), (33, 500, 7)]
)
def test_products_have_the_same_bits_for_any_number_of_threads(monkeypatch, shape):
    (M, K, N), rng = shape, np.random.default_rng(0)
    a, b = (rng.standard_normal(size, dtype=np.float32) for size in ((M, K), (K, N)))
    many = rng.standard_normal((9, 50, 60), dtype=np.float32)
    found = []
    for count in (1, 2, 3, 4):
        monkeypatch.setattr(threads, "_limit", count)
        out = np.empty((9, 50, 50), dtype=np.float32)
        products(list(zip(many, many.transpose(0, 2, 1), out, strict=True)), step=17)
        found.append((product(a, b).tobytes(), out.tobytes()))
    assert len(set(found)) == 1


@pytest.mark.parametrize("step", [0, 1, 7, 23, 40])
def test_products_add_pieces_and_what_is_there(step):
    rng = np.random.default_rng(1)
    a, b, out = (
        rng.standard_normal(shape) for shape in ((5, 2, 6, 23), (5, 2, 23, 4), (5, 2, 6, 4))
    )
    was = out.copy()
    products(list(zip(a, b, out, strict=True)), step, add=True)
    np.testing.assert_allclose(out, was + a @ b, rtol=1e-12, atol=1e-12)
    products(list(zip(a, b, out, strict=True)), step)
    np.testing.assert_allclose(out, a @ b, rtol=1e-12, atol=1e-12)


def test_a_process_can_be_held_to_fewer_threads(monkeypatch):
    monkeypatch.setattr(threads, "_limit", None)
    cores = threads.cpu_count()
    threads.limit_threads(1)
    assert threads.cpu_count() == 1 and blas_threads() == {1}
    threads.limit_threads(None)
    assert threads.cpu_count() == cores


def test_a_training_run_can_be_held_to_fewer_cores(monkeypatch, tmp_path):
    monkeypatch.setattr(threads, "_limit", None)
    assert tiny_run.main(["--out", str(tmp_path / "run"), "--threads", "1"]) == 0
    assert threads.cpu_count() == 1
    threads.limit_threads(None)


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
    threads.spare_memory(False)
    assert settings == {-8: 1, -3: most, -1: -1}
    threads.spare_memory()
    assert settings == {-8: 1, -3: 1 << 20, -1: 1 << 20}
    threads.spare_memory(False)
    assert settings == {-8: 1, -3: most, -1: -1}


def test_another_c_library_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(threads.ctypes, "CDLL", lambda name: object())
    threads.spare_memory(False)
