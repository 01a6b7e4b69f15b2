"""The mutations of mutations.py: single places of the package that carry the GPU path, and what is left without.

Each names the tests that are about it; any of them may be the one that fails.  Our kernels have no atomics and no
barriers, since each number is gathered by the thread that owns it (see `Kernel`); in their place stand the sums,
the loops that gather, and a thread that writes outside what it owns.
"""

from typing import NamedTuple

KERNELS, COSTS, COPIES = (f"tests/gpu/test_{name}.py" for name in ("kernels", "step_costs", "copies"))
PREFETCH, LAYERS, MEMORY = (
    f"tests/{name}.py" for name in ("train/test_prefetch", "layers/test_layers", "train/test_memory")
)
WINDOWS, POOL, LRN, ENTROPY = (
    f"{KERNELS}::test_{n}" for n in ("im2col_and_col2im", "max_pool", "lrn", "cross_entropy")
)
MISSING_WAITS = f"{PREFETCH}::test_right_under_every_schedule"


class Mutation(NamedTuple):
    """In `file` of the package, `old` becomes `new`; one of `tests` (node ids or files) should fail."""

    file: str
    what: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTATIONS = [
    # ------------------------------------------------------------------ where arrays live
    Mutation(
        "layers/conv.py", "an xp lookup: the output of a convolution is NumPy's",
        "y = get_xp(x).empty((len(x), OH, OW, F)", "y = np.empty((len(x), OH, OW, F)",
        (f"{LAYERS}::test_conv",),
    ),
    Mutation(
        "fast/winograd.py", "an xp lookup: the matrices of Winograd's transforms are NumPy's",
        "(get_xp(x).asarray(matrix, dtype=x.dtype)", "(np.asarray(matrix, dtype=x.dtype)",
        ("tests/fast/test_winograd.py::test_without_bias_and_without_input_gradient",),
    ),
    Mutation(
        "layers/layer.py", "an xp lookup: the vector of all parameters is NumPy's",
        "theta = get_xp(first).empty(", "theta = np.empty(",
        (f"{MEMORY}::test_chunks_give_the_same_bits_each_time",),
    ),
    Mutation(
        "train/trainer.py", "an xp lookup: the losses not read back yet are kept by NumPy",
        "self.log = get_xp(self.theta).zeros(", "self.log = np.zeros(",
        (f"{COPIES}::test_one_pinned_copy_a_training_step",),
    ),
    Mutation(
        "train/prefetch.py", "a transfer: the labels of a batch stay on the host",
        "self.batch = unpack(self.memory, batch)",
        "self.batch = unpack(self.memory, batch)._replace(labels=batch.labels)",
        (f"{PREFETCH}::test_the_batches_of_the_loader_to_the_bit",),
    ),
    # ------------------------------------------------------------------ dtypes
    Mutation(
        "train/trainer.py", "a dtype: the losses not read back yet are float64",
        "zeros((config.log_interval, 2), dtype=self.theta.dtype)", "zeros((config.log_interval, 2))",
        (f"{COSTS}::test_no_waiting_no_float64_and_one_copy_from_pinned_memory",),
    ),
    Mutation(
        "layers/layer.py", "a dtype: the vector of all parameters is float64",
        "for owner, key, _ in arrays), dtype=first.dtype)", "for owner, key, _ in arrays))",
        (f"{COSTS}::test_no_waiting_no_float64_and_one_copy_from_pinned_memory",),
    ),
    Mutation(
        "losses.py", "a cast: the one-hot labels are float64",
        "t = (labels[:, None] == xp.arange(C)).astype(logits.dtype)",
        "t = (labels[:, None] == xp.arange(C)).astype(float)",
        (ENTROPY,),
    ),
    Mutation(
        "layers/lrn.py", "the T of a constant in a kernel: a bare 2.0 computes with float64",
        "T(2) * alpha * beta", "2.0 * alpha * beta",
        (f"{KERNELS}::test_no_constant_in_a_kernel_is_a_float64", LRN),
    ),
    Mutation(
        "data/pixels.py", "the f of a constant in a kernel: bytes become numbers by way of float64",
        "(p / 255.0f + colour - mean)", "(p / 255.0 + colour - mean)",
        ("tests/data/test_pixels.py::test_a_batch_is_what_the_single_steps_make_of_its_images",),
    ),
    # ------------------------------------------------------------------ streams, and memory to copy from
    Mutation(
        "train/prefetch.py", "an event wait: computation does not wait for the copy",
        "self.compute.wait_event(self.sent)", "pass", (MISSING_WAITS,),
    ),
    Mutation(
        "train/prefetch.py", "an event wait: the copy does not wait for the computation",
        "self.copy.wait_event(self.free)", "pass", (MISSING_WAITS,),
    ),
    Mutation(
        "train/prefetch.py", "an event wait: the host packs while a copy still leaves",
        "        self.wait_until_sent()\n        size =", "        size =", (MISSING_WAITS,),
    ),
    Mutation(
        "train/prefetch.py", "an event wait: memory is freed while a copy still reads and writes it",
        "        for slot in slots:  # the memory must not go to others while a copy reads or writes it\n"
        "            slot.wait_until_sent()", "        pass", (MISSING_WAITS,),
    ),
    Mutation(
        "train/prefetch.py", "the rotation of the double buffer: always the first slot",
        "slot = slots[k % SLOTS]", "slot = slots[0]", (MISSING_WAITS,),
    ),
    Mutation(
        "train/prefetch.py", "the side stream: copies stand in the queue of the computation",
        "self.memory[:size].set(self.pinned[:size], stream=self.copy)",
        "self.memory[:size].set(self.pinned[:size])",
        (PREFETCH,),
    ),
    Mutation(
        "train/prefetch.py", "pinned memory: batches leave from pageable memory",
        "cupyx.empty_pinned((size,), np.uint8)", "np.empty((size,), np.uint8)",
        (f"{COPIES}::test_one_pinned_copy_a_batch_and_no_wait",),
    ),
    # ------------------------------------------------------------------ what a step costs
    Mutation(
        "train/trainer.py", "no wait in a step: each loss is read at once",
        "self.log[len(pending), 1] = loss, correct", "self.log[len(pending), 1] = float(loss), correct",
        (f"{COSTS}::test_no_waiting_no_float64_and_one_copy_from_pinned_memory",),
    ),
    Mutation(
        "backend.py", "one product a convolution: image by image, on a GPU as well",
        "if get_xp(x) is np else N)", "if get_xp(x) is np else 1)",
        (f"{COSTS}::test_one_two_dimensional_product_per_convolution_group_and_direction",),
    ),
    Mutation(
        "cli.py", "TF32 is for those who ask: it is always on",
        "    if config.tf32:\n        allow_tf32()", "    allow_tf32()",
        ("tests/gpu/test_options.py::test_tf32_is_for_those_who_ask_for_it",),
    ),
    # ------------------------------------------------------------------ bounds
    Mutation(
        "layers/conv.py", "a bounds guard: im2col reads past the right edge",
        "w >= 0 && w < W ? x[at]", "w >= 0 ? x[at]", (WINDOWS,),
    ),
    Mutation(
        "layers/conv.py", "a bounds guard: col2im gathers from windows below the last one",
        "for (int p = min(h / S, OH - 1); p >= 0 && h - p * S < K; p--)\n        for (int q = min(w / S, OW - 1); "
        "q >= 0 && w - q * S < K; q--)\n            sum += dX[",
        "for (int p = h / S; p >= 0 && h - p * S < K; p--)\n        for (int q = min(w / S, OW - 1); "
        "q >= 0 && w - q * S < K; q--)\n            sum += dX[",
        (WINDOWS,),
    ),
    Mutation(
        "layers/pool.py", "a bounds guard: max pooling looks above the first row",
        "if (h < 0 || h >= H || w < 0 || w >= W) continue;", "if (h >= H || w < 0 || w >= W) continue;", (POOL,),
    ),
    Mutation(
        "layers/lrn.py", "a bounds guard: LRN looks at channels of the next place",
        "j <= half && c + j < C; j++) sum +=", "j <= half; j++) sum +=", (LRN,),
    ),
    Mutation(
        "losses.py", "a thread writes what another owns: one class too many",
        "for (int c = 0; c < C; c++) {", "for (int c = 0; c <= C; c++) {", (ENTROPY,),
    ),
    # ------------------------------------------------------------------ sums and indices
    Mutation(
        "layers/conv.py", "the sum of col2im: the last patch instead of all",
        "sum += dX[", "sum = dX[", (WINDOWS,),
    ),
    Mutation(
        "layers/pool.py", "the sum of max pooling's gradient: the last window instead of all",
        "sum += dy[at]", "sum = dy[at]", (POOL,),
    ),
    Mutation(
        "layers/conv.py", "a factor of an index: col2im forgets the channels",
        "* K + w - q * S) * C + c]", "* K + w - q * S) + c]", (WINDOWS,),
    ),
    Mutation(
        "backend.py", "an index type: 32 bits for twice as many numbers as they hold",
        "LARGEST_INT32 = 2**31 - 1", "LARGEST_INT32 = 2**32 - 1",
        (f"{KERNELS}::test_arrays_above_two_billion_numbers_get_wide_indices",),
    ),
    Mutation(
        "layers/conv.py", "an index type: im2col counts its numbers by 32 bits",
        "    Index k = i;\n    const int c = k % C; k /= C;\n    const int b", "    int k = i;\n"
        "    const int c = k % C; k /= C;\n    const int b",
        (f"{KERNELS}::test_what_numbers_an_array_is_an_index", WINDOWS),
    ),
    Mutation(
        "layers/pool.py", "an index type: the winner of a window is one byte",
        "dtype=xp.min_scalar_type(self.kernel_size**2)", 'dtype="uint8"',
        (f"{KERNELS}::test_a_wide_window_notes_its_winner",),
    ),
    # ------------------------------------------------------------------ the same numbers
    Mutation(
        "train/gradient.py", "the share of a chunk: each chunk counts as the whole batch",
        "loss, dlogits = loss * share, dlogits * share", "pass", (f"{MEMORY}::test_chunks_sum_up_to_the_batch",),
    ),
    Mutation(
        "layers/dropout.py", "the place in the batch: each chunk begins the mask anew",
        '"first": first}', '"first": 0}', (f"{MEMORY}::test_chunks_sum_up_to_the_batch",),
    ),
    Mutation(
        "optim.py", "the bias correction of Adam's kernel",
        "constants = a * c / (1 - b1**self.t), b1", "constants = a * c, b1",
        (f"{KERNELS}::test_optimizers",),
    ),
]  # fmt: skip
