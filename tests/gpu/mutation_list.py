"""The mutations of mutations.py: single places of the package that carry the GPU path, and what is
left without.

Each names the tests that are about it; any of them may be the one that fails.  But for those of
implicit.cu, our kernels have no atomics and no barriers, since each number is gathered by the
thread that owns it (see `Kernel`); in their place stand the sums, the loops that gather, and a
thread that writes outside what it owns.
"""

from implicit_mutations import IMPLICIT_MUTATIONS
from patterns import Mutation
from photo_mutations import PHOTO_MUTATIONS

FORMS, OTHER, KERNELS, ACCELERATED, COSTS, COPIES, OPTIONS = (
    f"tests/gpu/test_{name}.py"
    for name in (
        "forms",
        "other_forms",
        "kernels",
        "accelerated",
        "step_costs",
        "copies",
        "options",
    )
)
PREFETCH = "tests/train/test_prefetch.py"
MISSING_WAITS = f"{PREFETCH}::test_right_under_every_schedule"
QUIET = f"{COSTS}::test_no_waiting_no_float64_and_one_copy_from_pinned_memory"
OWN = f"{COSTS}::test_our_own_kernels_are_used"
CHUNKS = f"{ACCELERATED}::test_a_batch_in_chunks_has_the_gradient_of_the_whole"
WINDOWS, POOL, NAN, RELU, LRN = (
    f"{FORMS}::test_{name}"
    for name in (
        "im2col_and_col2im", "max_pool", "max_pool_with_nan_and_infinity",
        "closed_units_stop_everything_and_nan_passes_dy", "lrn",
    )
)  # fmt: skip
ENTROPY, RANDOM = f"{OTHER}::test_cross_entropy", f"{OTHER}::test_random_numbers"


MUTATIONS = [
    # -------------------------------------------------------------------- where arrays live
    Mutation(
        "layers/conv.py", "Conv2d.forward", "an xp lookup: the output of a convolution is NumPy's",
        "get_xp($x).empty($$rest)", "np.empty($$rest)", (f"{FORMS}::test_conv",),
    ),
    Mutation(
        "layers/pool.py", "_Pool2d.add_windows",
        "an xp lookup: pooling adds its gradient up in NumPy's",
        "get_xp($$x).zeros($$rest)", '__import__("numpy").zeros($$rest)',
        (f"{FORMS}::test_average_pool",),
    ),
    Mutation(
        "params.py", "flatten", "an xp lookup: the vector of all parameters is NumPy's",
        "get_xp($x).empty($$rest)", '__import__("numpy").empty($$rest)',
        (f"{ACCELERATED}::test_all_parameters_become_one_vector_on_the_gpu",),
    ),
    Mutation(
        "train/progress.py", "Meter.__init__",
        "an xp lookup: the losses not read back yet are kept by NumPy",
        "self.log = get_xp($x).zeros($$rest)", "self.log = np.zeros($$rest)",
        (f"{COPIES}::test_one_pinned_copy_a_training_step",),
    ),
    Mutation(
        "train/prefetch.py", "Slot.send", "a transfer: the labels of a batch stay on the host",
        "unpack(self.memory, $b)", "unpack(self.memory, $b)._replace(labels=$b.labels)",
        (f"{PREFETCH}::test_the_batches_of_the_loader_to_the_bit",),
    ),
    Mutation(
        "twin.py", "Twin.to", "the twin of another device: a layer that moves keeps its class",
        "self.__class__ = TWINS.get($$rest)", "pass",
        (f"{ACCELERATED}::test_an_accelerated_model_moves_to_the_gpu_and_back",),
    ),
    # ------------------------------------------------------------------------------ dtypes
    Mutation(
        "train/progress.py", "Meter.__init__", "a dtype: the losses not read back yet are float64",
        "self.log = $zeros($$shape, dtype=$d)", "self.log = $zeros($$shape)", (QUIET,),
    ),
    Mutation(
        "params.py", "flatten", "a dtype: the vector of all parameters is float64",
        "empty($n, dtype=$d)", "empty($n)", (QUIET,),
    ),
    Mutation(
        "losses.py", "softmax_cross_entropy", "a cast: the one-hot labels are float64",
        ".astype($d)", ".astype(float)", (ENTROPY,),
    ),
    Mutation(
        "gpu/lrn.cu", "lrn_backward",
        "the T of a constant in a kernel: a bare 2.0 computes with float64",
        "T(2)", "2.0", (f"{KERNELS}::test_no_constant_in_a_kernel_is_a_float64", LRN),
    ),
    Mutation(
        "gpu/pixels.cu", "finish",
        "the f of a constant in a kernel: bytes become numbers by way of float64",
        "255.0f", "255.0", (f"{OTHER}::test_bytes_become_floats_to_the_bit",),
    ),
    # ------------------------------------------------- streams, and memory to copy from
    Mutation(
        "train/prefetch.py", "Slot.receive",
        "an event wait: computation does not wait for the copy",
        "$stream.wait_event($event)", "pass", (MISSING_WAITS,),
    ),
    Mutation(
        "train/prefetch.py", "Slot.send",
        "an event wait: the copy does not wait for the computation",
        "$stream.wait_event($event)", "pass", (MISSING_WAITS,),
    ),
    Mutation(
        "train/prefetch.py", "Slot.send", "an event wait: the host packs while a copy still leaves",
        "self.wait_until_sent()", "pass", (MISSING_WAITS,),
    ),
    Mutation(
        "train/prefetch.py", "on_gpu",
        "an event wait: memory is freed while a copy still reads and writes it",
        "copy.synchronize()", "pass", (MISSING_WAITS,),
    ),
    Mutation(
        "train/prefetch.py", "Slot.release", "an event: nobody says that a batch is done with",
        "$event.record($stream)", "pass", (MISSING_WAITS,),
    ),
    Mutation(
        "train/prefetch.py", "Slot.reserve", "an event: new memory may still be in use elsewhere",
        "$event.record($stream)", "pass", (MISSING_WAITS,),
    ),
    Mutation(
        "train/prefetch.py", "on_gpu", "the rotation of the double buffer: always the first slot",
        "$slots[$k % SLOTS]", "$slots[0]", (MISSING_WAITS,),
    ),
    Mutation(
        "train/prefetch.py", "Slot.send",
        "the side stream: copies stand in the queue of the computation",
        ".set($$source, stream=$stream)", ".set($$source)", (PREFETCH,),
    ),
    Mutation(
        "train/prefetch.py", "Slot.reserve", "pinned memory: batches leave from pageable memory",
        "cupyx.empty_pinned($$rest)", "np.empty($$rest)",
        (f"{COPIES}::test_one_pinned_copy_a_batch_and_no_wait",),
    ),
    # ------------------------------------------------------------------- what a step costs
    Mutation(
        "train/progress.py", "Meter.add", "no wait in a step: each loss is read at once",
        "$steps.append($$images)", "$steps.append($$images); float(self.log[0, 0])", (QUIET,),
    ),
    Mutation(
        "attach.py", "accelerate", "the twins: layers stay what their pages say",
        "$layer.__class__ = TWINS.get($$rest)", "pass", (OWN,),
    ),
    Mutation(
        "attach.py", "accelerate", "the twin of the optimizer: it stays what its page says",
        "$optimizer.__class__ = OPTIMIZER_TWINS.get($$rest)", "pass", (OWN,),
    ),
    Mutation(
        "attach.py", "loss_function", "the twin of the loss: it stays what its page says",
        "return $twin if $$condition else", "return", (OWN,),
    ),
    Mutation(
        "attach.py", "accelerate", "one product less: a first layer passes its gradient on",
        "$first.input_grad = input_grad", "pass",
        (f"{COSTS}::test_one_two_dimensional_product_per_layer_and_direction",),
    ),
    Mutation(
        "commands/train.py", "prepare_machine", "TF32 is for those who ask: it is always on",
        "if $config.tf32: allow_tf32()", "allow_tf32()",
        (f"{OPTIONS}::test_tf32_is_for_those_who_ask_for_it",),
    ),
    # ------------------------------------------------------------------------------ bounds
    Mutation(
        "gpu/conv.cu", "im2col", "a bounds guard: im2col reads past the right edge",
        "$w >= 0 && $w < W", "$w >= 0", (WINDOWS,),
    ),
    Mutation(
        "gpu/conv.cu", "col2im", "a bounds guard: col2im gathers from windows below the last one",
        "min($h / SH, OH - 1)", "$h / SH", (WINDOWS,),
    ),
    Mutation(
        "gpu/pool.cu", "maxpool_forward", "a bounds guard: max pooling looks beyond the last row",
        "$h < 0 || $h >= H", "$h < 0", (f"{FORMS}::test_max_pool_over_the_edge",),
    ),
    Mutation(
        "gpu/conv.cu", "im2col", "the two axes: im2col counts the rows of a window as its columns",
        "a = k % KH", "a = k % KW", (WINDOWS,),
    ),
    Mutation(
        "gpu/pool.cu", "maxpool_backward", "the two axes: a winner is counted by the window's rows",
        "(h - p * SH) * KW", "(h - p * SH) * KH", (POOL,),
    ),
    Mutation(
        "gpu/pool.cu", "maxpool_forward", "a bounds guard: max pooling looks above the first row",
        "$h < 0 || $h >= H", "$h >= H", (POOL,),
    ),
    Mutation(
        "gpu/lrn.cu", "lrn_forward", "a bounds guard: LRN looks at channels of the next place",
        "$j <= half && $c + $j < C", "$j <= half", (LRN,),
    ),
    Mutation(
        "gpu/losses.cu", "cross_entropy", "a thread writes what another owns: one class too many",
        "for (int $c = 0; $c < C; $c++) {", "for (int $c = 0; $c <= C; $c++) {", (ENTROPY,),
    ),
    # -------------------------------------------------------------------- sums and indices
    Mutation(
        "gpu/conv.cu", "col2im", "the sum of col2im: the last patch instead of all",
        "$sum += $x;", "$sum = $x;", (WINDOWS,),
    ),
    Mutation(
        "gpu/pool.cu", "maxpool_backward",
        "the sum of max pooling's gradient: the last window instead of all",
        "$sum += $x;", "$sum = $x;", (POOL,),
    ),
    Mutation(
        "gpu/conv.cu", "col2im", "a factor of an index: col2im forgets the channels",
        "* C + $c", "+ $c", (WINDOWS,),
    ),
    Mutation(
        "gpu/kernel.py", "", "an index type: 32 bits for twice as many numbers as they hold",
        "2**31 - 1", "2**32 - 1",
        (f"{KERNELS}::test_arrays_above_two_billion_numbers_get_wide_indices",),
    ),
    Mutation(
        "gpu/conv.cu", "im2col", "an index type: im2col counts its numbers by 32 bits",
        "Index k", "int k", (f"{KERNELS}::test_what_numbers_an_array_is_an_index", WINDOWS),
    ),
    Mutation(
        "gpu/pool.py", "MaxPool2d.forward", "an index type: the winner of a window is one byte",
        "$xp.min_scalar_type($$rest)", '"uint8"',
        (f"{FORMS}::test_a_wide_window_notes_its_winner",),
    ),
    # -------------------------------------------------------------------- the same numbers
    Mutation(
        "gpu/pool.cu", "maxpool_forward", "the first of a window: none is larger than 0",
        "first || $v > $best", "$v > $best", (POOL,),
    ),
    Mutation(
        "gpu/pool.cu", "maxpool_forward", "not a number: max pooling passes over it",
        "$v > $best || $nan", "$v > $best", (NAN,),
    ),
    Mutation(
        "gpu/activations.cu", "relu_backward", "not a number: a ReLU stops its gradient",
        "$y <= $zero ? $zero : $dy", "$y > $zero ? $dy : $zero", (RELU,),
    ),
    Mutation(
        "gpu/conv.py", "Conv2d.backward", "a grad in another layout: the sum stays in a copy",
        "if not $into.flags.c_contiguous: $into[...] = $dW", "pass", (f"{FORMS}::test_conv",),
    ),
    Mutation(
        "gpu/dropout.cu", "philox", "a round of Philox: nine of ten",
        "$round < 10", "$round < 9", (RANDOM,),
    ),
    Mutation(
        "gpu/dropout.py", "Dropout.forward",
        "the place in the batch: each chunk begins the mask anew",
        "self.first * $n", "0 * $n", (CHUNKS,),
    ),
    Mutation(
        "train/loop.py", "Training.step",
        "the share of a chunk: each chunk counts as the whole batch",
        "if $share == 1", "if $share > 0", (CHUNKS,),
    ),
    Mutation(
        "gpu/optim.py", "Adam.update", "the bias correction of Adam's kernel",
        "lr * $c / ($$b)", "lr * $c", (f"{OTHER}::test_optimizers",),
    ),
    *IMPLICIT_MUTATIONS,
    *PHOTO_MUTATIONS,
]  # fmt: skip
