"""Mutations of convolution without im2col's matrix, and of the ReLUs that it does: see
mutation_list.py.

These kernels have barriers and copies that arrive later; what a thread waits for is among the
things that are removed.
"""

from patterns import Mutation

CU, TILES, PY = "gpu/implicit.cu", "gpu/tiles.cu", "gpu/implicit.py"
FLOAT32, TF32, PARTS = (
    f"tests/gpu/test_implicit.py::test_{name}" for name in ("float32", "tf32", "dw_in_parts")
)
ROUNDING, POSITIVE, NAN, RELU, WHO, GRIDS, LARGE, ASKED = (
    f"tests/gpu/test_implicit_numbers.py::test_{name}"
    for name in (
        "rounding", "sums_of_positive_numbers_are_neither_too_small_nor_too_large",
        "one_nan_spoils_what_it_is_part_of_and_nothing_else",
        "a_relu_beside_a_convolution_treats_every_number_as_the_page",
        "who_computes_a_convolution",
        "a_grid_of_too_many_groups_and_parts_is_left_to_im2col",
        "arrays_above_a_billion_numbers_are_left_to_im2col", "the_arithmetic_of_a_gpu",
    )
)  # fmt: skip
JOINED = "tests/gpu/test_joined_relu.py::test_the_model_is_that_of_the_pages"

IMPLICIT_MUTATIONS = [
    # ----------------------------------------------------------------- copies and barriers
    Mutation(
        CU, "multiply", "a wait for copies: one group short",
        "wait_for_all_groups_but<STAGES - 2>()", "wait_for_all_groups_but<STAGES - 1>()", (TF32,),
    ),
    Mutation(
        CU, "multiply", "a barrier: a tile is read before other warps have fetched their part",
        "__syncthreads()", "__syncwarp()", (TF32,),
    ),
    Mutation(
        CU, "multiply", "the count of groups: none is ended where nothing is fetched",
        "end_group();", "if (more) end_group();", (TF32,),
    ),
    Mutation(
        CU, "multiply", "the ring of tiles: what is being multiplied is overwritten",
        "A.fetch(fill), B.fetch(fill + $$n)", "A.fetch(read), B.fetch(read + $$n)", (TF32,),
    ),
    Mutation(
        CU, "multiply", "the end: the last tile is not fetched",
        "$t + STAGES - 1 < tiles", "$t + STAGES < tiles", (TF32,),
    ),
    Mutation(
        CU, "multiply", "before Ampere: the numbers of B stay in registers",
        "A.land(), B.land()", "A.land()", (FLOAT32,),
    ),
    # ------------------------------------------------------------------------------ bounds
    Mutation(
        CU, "", "a bounds guard: patches reach past the right edge of an image",
        "(unsigned)$x < W && $k.high < KI", "$k.high < KI", (TF32,),
    ),
    Mutation(
        CU, "", "a bounds guard: patches below the last are read",
        "if (m0 + B::row(i) >= M) $top[i] = $$far;", "", (TF32,),
    ),
    Mutation(
        CU, "", "a bounds guard: dw goes on behind the last image",
        "(unsigned)$y < H && $place.high < N", "(unsigned)$y < H", (TF32,),
    ),
    Mutation(
        CU, "", "a bounds guard: rows of the weight below the last are multiplied",
        "B::k(t) < rows && $condition", "$condition", (TF32,),
    ),
    Mutation(
        CU, "", "a bounds guard: columns of the next group are written",
        "if ($n >= columns) continue;", "", (TF32,),
    ),
    Mutation(
        CU, "conv_dw", "a bounds guard: a part goes on to the last place",
        "min(first + each, M)", "M", (PARTS,),
    ),
    # ------------------------------------------------------------------------- indices
    Mutation(
        TILES, "", "a fragment of a tensor core: rows and columns change places",
        "i % 2 * 2 + second", "i % 2 + second * 2", (TF32,),
    ),
    Mutation(
        TILES, "load_a", "a fragment of a tensor core: the halves of A's rows and columns",
        "(k + h / 2 * 4) * BM", "(k + h % 2 * 4) * BM", (TF32,),
    ),
    Mutation(
        TILES, "load_b", "a fragment of a tensor core: the quarters that ldmatrix reads of B",
        "lane / 8 % 2 * 4", "lane / 16 * 4", (TF32,),
    ),
    Mutation(
        CU, "", "a pointer: it goes straight on where the tap changes",
        "forward = from_first_tap() - before;", "", (TF32,),
    ),
    Mutation(
        CU, "conv_forward", "a row of the window as one run: where there is padding, too",
        "PW == 0 && G == 1", "G == 1", (TF32,),
    ),
    Mutation(
        CU, "conv_forward", "a row of the window as one run: through the other groups",
        "PW == 0 && G == 1", "PW == 0", (TF32,),
    ),
    Mutation(
        CU, "", "a stride: dx meets neighbouring weights",
        "j0 + k.mid * SW", "j0 + k.mid", (TF32,),
    ),
    Mutation(
        CU, "conv_dx", "the padding: dx begins at another weight",
        "i0 = (h0 + PH) % SH", "i0 = h0 % SH", (TF32,),
    ),
    Mutation(
        CU, "", "the two axes: the weight's rows are as long as its columns",
        "(i0 + k.high * SH) * KW", "(i0 + k.high * SH) * KH", (TF32,),
    ),
    Mutation(
        CU, "", "the two axes: patches go down by the stride across",
        "place.mid * SH + y0, left", "place.mid * SW + y0, left", (TF32,),
    ),
    Mutation(
        CU, "", "the two axes: dw begins as far above an image as left of it",
        "d.high - s.PH", "d.high - s.PW", (TF32,),
    ),
    Mutation(
        CU, "conv_dx", "the two axes: the parts of dx are dealt as if strides were the same",
        "blockIdx.y / SW % SH", "blockIdx.y / SH % SH", (TF32,),
    ),
    Mutation(
        CU, "conv_forward", "no bias: what lies at address 0 is added",
        "bias ? bias + f0 : nullptr", "bias + f0", (TF32,),
    ),
    Mutation(
        CU, "conv_dw", "the parts of dw: they overlap",
        "first = part * each", "first = part * (each - BK)", (PARTS,),
    ),
    Mutation(
        CU, "sum_parts", "the parts of dw: the first counts for all",
        "sums[s * size + i]", "sums[i]", (PARTS,),
    ),
    Mutation(
        CU, "conv_dw", "the row of ones: no gradient of the bias",
        "d0 + row < rows", "d0 + row < rows - 1", (TF32,),
    ),
    # ------------------------------------------------------------------------- the numbers
    Mutation(
        CU, "write", "the mask: a closed unit's 0 lets a gradient pass",
        "mask[$$i] <= 0", "mask[$$i] < 0", (TF32,),
    ),
    Mutation(
        CU, "write", "not a number: a mask stops its gradient",
        "mask && mask[$$i] <= 0", "mask && !(mask[$$i] > 0)", (RELU,),
    ),
    Mutation(
        CU, "write", "the ReLU: negative numbers pass", "relu && v[e] < 0", "false", (TF32,),
    ),
    Mutation(
        CU, "write", "not a number: a ReLU makes it 0",
        "relu && v[e] < 0", "relu && !(v[e] >= 0)", (RELU,),
    ),
    Mutation(
        TILES, "prepare", "the lower half of a number: 3xTF32 is no better than TF32",
        "$whole - cut(v)", "$whole - $whole", (ROUNDING,),
    ),
    Mutation(
        TILES, "before_the_cut", "the cut of a number: sums of positive ones are too small",
        "v * (1 + $$little)", "v", (POSITIVE,),
    ),
    # ------------------------------------------------------------------------- their callers
    Mutation(
        PY, "forward", "a copy: x is taken as it lies in memory", "whole(x)", "x", (TF32,),
    ),
    Mutation(
        PY, "weight_gradient", "a grad in another layout: implicit kernels fill a copy",
        "if $found is not $array: $$rest = $found", "pass", (TF32,),
    ),
    Mutation(
        PY, "rows", "no bias: the row of ones is summed anyway", "+ layer.bias", "+ 1", (TF32,),
    ),
    Mutation(
        PY, "can", "an index type: 32 bits for arrays of any size",
        "largest <= LARGEST and", "", (LARGE,),
    ),
    Mutation(
        PY, "can", "a grid: more groups than it holds",
        "and grid <= LARGEST_GRID", "", (GRIDS,),
    ),
    Mutation(
        PY, "faster", "GPUs without fast TF32: they leave im2col as well",
        "capability() in FOR_DATA_CENTERS", "True", (WHO,),
    ),
    Mutation(
        PY, "arithmetic", "TF32 is for those who ask: implicit kernels always use it",
        'TF32 if os.environ.get("CUPY_TF32") == "1" else THREE_TF32', "TF32", (ASKED,),
    ),
    Mutation(
        "gpu/conv.py", "Conv2d.forward", "a joined ReLU: with im2col nobody applies it",
        "xp.maximum($$y) if relu else y", "y", (JOINED,),
    ),
    Mutation(
        "gpu/conv.py", "Conv2d.backward", "a joined ReLU: with im2col its derivative is missing",
        "dx is not None and relu", "False", (JOINED,),
    ),
    Mutation(
        "gpu/conv.py", "Conv2d.backward", "a joined ReLU: the kernel is not told of the one before",
        "implicit.input_gradient($$x, relu)", "implicit.input_gradient($$x, False)", (JOINED,),
    ),
    Mutation(
        "gpu/pool.cu", "maxpool_backward", "a joined ReLU: max pooling opens closed units",
        "of.relu && $y <= 0", "false", (JOINED,),
    ),
    Mutation(
        "gpu/sequential.py", "Sequential.backward", "a joined ReLU: another layer is told of it",
        "told(i, i - 1, joined)", "told(i, i + 1, joined)", (JOINED,),
    ),
    Mutation(
        "gpu/sequential.py", "Sequential.joined", "a joined ReLU: the layer after it is any",
        "and trio[2] in KNOWS_THE_DERIVATIVE", "", (JOINED,),
    ),
]  # fmt: skip
