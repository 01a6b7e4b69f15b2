"""Mutations of photos in the GPU's own memory: see mutation_list.py."""

from patterns import Mutation

PHOTOS, COPIES, COSTS = (f"tests/gpu/test_{name}.py" for name in ("photos", "copies", "step_costs"))
VIEWS = f"{PHOTOS}::test_a_hundred_views_of_a_photo"
CUT = f"{PHOTOS}::test_the_batches_of_the_loader_to_the_bit"

PHOTO_MUTATIONS = [
    # ------------------------------------------------------ photos in the GPU's memory
    Mutation(
        "gpu/taps.cu", "find_taps", "a rounding: a product and the sum after it are rounded once",
        "__dadd_rn(start, __dmul_rn($$a, scale))", "start + $$a * scale", (VIEWS, PHOTOS),
    ),
    Mutation(
        "gpu/taps.cu", "find_taps", "a bounds guard: a filter reaches before the first pixel",
        "max(0, $first)", "$first", (CUT,),
    ),
    Mutation(
        "gpu/taps.cu", "find_taps", "a bounds guard: a filter reaches beyond the last pixel",
        "min(end, $last)", "$last", (CUT,),
    ),
    Mutation(
        "gpu/taps.cu", "find_taps", "a rounding: weights are rounded down",
        "0.5 + tap_weight($$x) / sum", "tap_weight($$x) / sum", (VIEWS,),
    ),
    Mutation(
        "gpu/taps.cu", "find_taps", "antialiasing: a filter of one pixel where a photo shrinks",
        "scale < 1.0 ? 1.0 : scale", "1.0", (VIEWS,),
    ),
    Mutation(
        "gpu/photos.cu", "cut", "a rounding: no byte between rows and columns",
        "int part = HALF", "int part = 0", (VIEWS,),
    ),
    Mutation(
        "gpu/photos.cu", "cut", "the sum of a line: the last pixel instead of all",
        "part += $$x;", "part = $$x;", (VIEWS,),
    ),
    Mutation(
        "gpu/photos.cu", "cut", "a bounds guard: there is a photo left of the photo",
        "$p >= 0 && $p < view.height && $q >= 0 &&", "$p >= 0 && $p < view.height &&", (CUT,),
    ),
    Mutation(
        "gpu/photos.cu", "cut", "the mirror: every image is seen as it is",
        "if (view.mirrored) $x = w - 1 - $x;", "", (CUT,),
    ),
    Mutation(
        "gpu/photos.cu", "cut", "the rows that Pillow did not see: counted from the photo's first",
        "view.first * view.width", "0", (CUT,),
    ),
    Mutation(
        "gpu/photos.cu", "cut", "a factor of an index: all images have the taps of the first",
        "(n * h + $y) * width", "$y * width", (CUT,),
    ),
    Mutation(
        "gpu/photos.py", "GpuPhotos.cut", "how many pixels weigh in: as if nothing ever shrank",
        "max(1, $$all)", "1", (VIEWS,),
    ),
    Mutation(
        "gpu/photos.py", "GpuPhotos.cut", "an xp lookup: the taps are NumPy's",
        "$taps.append(xp.empty($$rest))", "$taps.append(np.empty($$rest))", (VIEWS,),
    ),
    Mutation(
        "train/prefetch.py", "Slot.send", "the batch of a view: taps are counted in the first",
        "self.on_host = batch", "self.on_host = vars(self).get('on_host', batch)", (CUT,),
    ),
    Mutation(
        "data/pixels.py", "ToBytes.view", "the shifted rows: the part is not shifted with them",
        "top - first, right, bottom - first", "top, right, bottom", (CUT,),
    ),
    Mutation(
        "train/resident.py", "keep_on_gpu", "room: photos take all of a GPU that they can get",
        "if $taken > $most: return 0", "pass", (f"{PHOTOS}::test_photos_that_do_not_fit_stay"
        "_where_they_are",),
    ),
]  # fmt: skip
