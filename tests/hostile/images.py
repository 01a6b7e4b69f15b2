"""Give folders of damaged images to predict and train: no traceback, no hang, one line a file.

Images of six formats in their forms (progressive, with a palette, 16 bits, animated ...) are
flipped in some bits, cut, spliced with pieces of others, or declare thousands of pixels a side; a
few are whole.  They are predicted,
trained on as they are, and trained on with --skip-damaged.  No file may take more than 600 MB above
what whole images take, nor be changed.
"""

import io
import os
import random
import re
import struct
import zlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from common import TINY, Ended, Report, call, make_photos, scratch, snapshot, start
from minialex.data import files

MOST = 600e6  # bytes above the memory that whole images take
CLASSES = ("cat", "dog")
SIZE = 150, 120  # of the whole images


def originals(rng: random.Random) -> dict[str, bytes]:
    """Whole images by their names, such as "progressive.jpg"."""
    numbers = np.random.default_rng(rng.randrange(2**32))
    small = numbers.integers(0, 256, (12, 15, 4), dtype=np.uint8)
    rgba = Image.fromarray(small, "RGBA").resize(SIZE, Image.Resampling.BICUBIC)
    rgb, grey, palette = rgba.convert("RGB"), rgba.convert("L"), rgba.convert("RGB").quantize(64)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    forms = {
        "plain.jpg": (rgb, {}), "progressive.jpg": (rgb, {"progressive": True}),
        "grey.jpg": (grey, {}), "inks.jpg": (rgb.convert("CMYK"), {}),
        "plain.png": (rgb, {}), "palette.png": (palette, {"transparency": 3}),
        "clear.png": (rgba, {}), "deep.png": (deep, {}),
        "plain.gif": (palette, {}),
        "moving.gif": (palette, {"save_all": True, "append_images": [palette.rotate(9)]}),
        "plain.webp": (rgb, {}), "exact.webp": (rgba, {"lossless": True}),
        "plain.tif": (rgb, {}), "lzw.tif": (rgb, {"compression": "tiff_lzw"}),
        "deflate.tif": (deep, {"compression": "tiff_adobe_deflate"}),
        "jpeg.tif": (rgb, {"compression": "jpeg"}),
        "plain.bmp": (rgb, {}), "palette.bmp": (palette, {}),
    }  # fmt: skip
    kinds = {"jpg": "JPEG", "tif": "TIFF"}
    found = {}
    for name, (image, how) in forms.items():
        file, ending = io.BytesIO(), name.partition(".")[2]
        image.save(file, kinds.get(ending, ending.upper()), **how)
        found[name] = file.getvalue()
    return found


def flipped(data: bytes, rng: random.Random) -> bytes:
    """With 1 to 20 bits turned, half of the time among the first bytes, where sizes stand."""
    changed = bytearray(data)
    reach = rng.choice((min(len(data), 64), len(data)))
    for _ in range(rng.choice((1, 2, 5, 20))):
        changed[rng.randrange(reach)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(data: bytes, rng: random.Random) -> bytes:
    """The beginning alone, or without a piece in the middle."""
    first, last = sorted((rng.randrange(len(data)), rng.randrange(len(data))))
    return data[:last] if rng.random() < 0.5 else data[:first] + data[last:]


def spliced(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """With a piece of another file put in, or in place of its own."""
    at, start = rng.randrange(len(data)), rng.randrange(len(other))
    piece = other[start : start + rng.randrange(1, 2000)]
    return data[:at] + piece + data[at + rng.choice((0, len(piece))) :]


def enlarged(data: bytes, rng: random.Random) -> bytes:
    """With a header that declares many more pixels than there are, where it holds plain sizes."""
    large = [rng.choice((3_000, 9_000, 16_000, 30_000)) + rng.randrange(99) for _ in SIZE]
    for form in ("<I", ">I", "<H", ">H"):
        for size, other in zip(SIZE, large, strict=True):
            at = data.find(struct.pack(form, size), 0, 600)
            if at >= 0:
                new = struct.pack(form, other)
                data = data[:at] + new + data[at + len(new) :]
    if data.startswith(b"\x89PNG"):
        data = data[:29] + struct.pack(">I", zlib.crc32(data[12:29])) + data[33:]
    return data


def fill(folder: Path, count: int, rng: random.Random) -> None:
    """Damaged images for training and the test of two classes, and a whole one in twenty."""
    whole = originals(rng)
    for number in range(count):
        name = rng.choice(list(whole))
        data, how = whole[name], rng.choice(("flipped", "cut", "spliced", "enlarged"))
        if number % 20 == 0:
            how = "whole"
        elif how == "flipped":
            data = flipped(data, rng)
        elif how == "cut":
            data = cut(data, rng)
        elif how == "enlarged":
            data = enlarged(data, rng)
        else:
            data = spliced(data, rng.choice(list(whole.values())), rng)
        part = folder / rng.choice(("train", "train", "test")) / rng.choice(CLASSES)
        part.mkdir(parents=True, exist_ok=True)
        (part / f"{number}-{how}-{name}").write_bytes(data)


def memory(peak: bool) -> int:
    """The bytes that this process takes now, or took at most since `forget_peak`."""
    text = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"{'VmHWM' if peak else 'VmRSS'}:\s*(\d+)", text)[1])


def measured() -> None:
    """From now on the peak of this process counts; at its end it comes into the file `peak`."""
    files.THREADS = 1  # what one file takes, is the question
    Path("/proc/self/clear_refs").write_text("5")
    real = os._exit

    def leave(status: int) -> None:
        Path("peak").write_text(str(memory(peak=True)))
        real(status)

    os._exit = leave


def without_libtiff(ended: Ended) -> Ended:
    """Without the lines that the library libtiff prints by itself, which nobody can stop."""
    lines = ended.err.splitlines(keepends=True)
    kept = "".join(line for line in lines if not re.match(r"\w+: [A-Z]|tempfile.tif: ", line))
    return replace(ended, err=kept)


def lines_by_file(ended: Ended) -> Counter[str]:
    """How many lines the program wrote of each file that it could not read."""
    return Counter(re.findall(r"cannot read image '([^']+)'", ended.out + ended.err))


def main() -> None:
    options, rng = start(__doc__.splitlines()[0], 1000, "images")
    report = Report(options.verbose)
    with scratch() as folder:
        make_photos(folder / "photos")
        fill(folder / "damaged", options.count, rng)
        before, names = snapshot(folder / "damaged"), list((folder / "damaged").rglob("*.*"))
        peaks = {}

        def tried(name: str, *arguments: str, statuses: tuple[int, ...]) -> Ended:
            ended = without_libtiff(call(*arguments, before=measured, timeout=170))
            peaks[name] = int(Path("peak").read_text())
            bad = lines_by_file(ended)
            faults = ended.faults(statuses, lines=len(bad) + 1)
            if more := {file: n for file, n in bad.items() if n > 1}:
                faults.append(f"{len(more)} files have several lines, such as {more.popitem()}")
            base = peaks.get(name.partition(" ")[0], peaks[name])
            if peaks[name] > base + MOST:
                faults.append(f"took {(peaks[name] - base) / 1e6:,.0f} MB more")
            if snapshot(folder / "damaged") != before:
                faults.append("files have changed")
            report.case(name, "well", faults)
            lines = f"{len(bad):,} files refused, {(peaks[name] - base) / 1e6:,.0f} MB more"
            print(f"{name}: {lines}, {ended.seconds:.1f} s", flush=True)
            return ended

        how = ("train", *TINY, "--epochs=1")
        tried("train", *how, "--data=photos", "--out=run", statuses=(0,))
        tried("predict", "predict", "run", "photos", statuses=(0,))
        ended = tried("predict damaged", "predict", "run", "damaged", statuses=(0, 2))
        answers = [line for line in ended.out.splitlines() if "damaged" in line]
        if len(answers) + len(lines_by_file(ended)) != len(names):
            report.case("answers", "", [f"{len(answers)} for {len(names)} files"])
        tried("train damaged", *how, "--data=damaged", "--out=one", statuses=(2,))
        tried("train skipping damaged", *how, "--data=damaged", "--out=two", "--skip-damaged",
              statuses=(0,))  # fmt: skip
    report.end()


if __name__ == "__main__":
    main()
