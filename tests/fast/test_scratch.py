"""Scratch memory is kept from one request to the next, by each thread for itself."""

import threading

import numpy as np

from minialex.fast.scratch import batch_slices, scratch


def test_scratch_is_kept_for_the_next_request_of_the_same_name_and_thread():
    like = np.zeros(1, dtype=np.float32)
    first = scratch(like, "a test", (4, 5))
    assert first.shape == (4, 5) and first.dtype == np.float32 and first.flags.c_contiguous
    assert np.shares_memory(first, scratch(like, "a test", (2, 3)))  # smaller: the same memory
    as_many_bytes = scratch(np.zeros(1, dtype=np.float64), "a test", (5, 2))
    assert np.shares_memory(first, as_many_bytes)
    larger = scratch(like, "a test", (100,))
    assert not np.shares_memory(first, larger)
    assert np.shares_memory(larger, scratch(like, "a test", (4, 5)))
    assert not np.shares_memory(larger, scratch(like, "another test", (4, 5)))
    assert scratch(like, "a test", (0, 7)).shape == (0, 7)


def test_threads_do_not_share_scratch():
    like = np.zeros(1, dtype=np.float64)
    ours, theirs = scratch(like, "a test", (8,)), []
    thread = threading.Thread(target=lambda: theirs.append(scratch(like, "a test", (8,))))
    thread.start()
    thread.join()
    assert not np.shares_memory(ours, theirs[0])


def test_slices_of_a_batch_take_about_as_much_memory_as_they_may():
    x = np.zeros((7, 10), dtype=np.float32)  # 40 bytes an image

    def lengths(**options):
        found = [len(x[images]) for images in batch_slices(x, **options)]
        assert sum(found) == 7
        return found

    assert lengths() == [7]
    assert lengths(limit=120) == lengths(limit=159) == [3, 3, 1]
    assert lengths(limit=1) == [1] * 7  # never less than one image
    assert lengths(image_bytes=60, limit=120) == [2, 2, 2, 1]
    assert list(batch_slices(x[:0])) == []
