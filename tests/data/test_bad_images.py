"""What is said of images that cannot be read, and how much memory those take that can."""

import errno
import gc
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from bad_input import refused
from minialex.data import CenterCrop, Compose, DataLoader, ImageFolder, Resize, ToArray, open_rgb
from minialex.data import image as page
from minialex.data.files import look_at
from minialex.data.image import PhotoError, fingerprint
from minialex.errors import DataError
from minialex.train.screen import Silent

PIXELS = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "x.png")
    return tmp_path / "x.png"


@pytest.mark.parametrize("number", ["EMFILE", "EACCES", "EIO", "ENAMETOOLONG", "ESTALE"])
def test_what_the_system_says_is_said_and_no_file_is_blamed(photo, monkeypatch, number):
    code = getattr(errno, number)

    def fail(*_, **__):
        raise OSError(code, os.strerror(code), str(photo))

    monkeypatch.setattr("builtins.open", fail)
    with pytest.raises(PhotoError, match=os.strerror(code)) as caught:
        open_rgb(photo)
    assert not caught.value.damaged and caught.value.path == str(photo)
    assert "delete" not in str(caught.value) and "damaged" not in str(caught.value)


@pytest.mark.parametrize("error", [
    MemoryError(), OSError("out of memory error when reading image file")
])  # fmt: skip
def test_too_little_memory_is_no_damage(photo, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    with refused(PhotoError, "not enough memory"):
        open_rgb(photo)


def test_pillow_prints_no_warnings_of_damaged_tags(tmp_path):
    file = tmp_path / "a.tif"
    Image.fromarray(PIXELS).save(file)
    data = bytearray(file.read_bytes())
    place = struct.unpack_from("<I", data, 4)[0]
    end = place + 2 + 12 * struct.unpack_from("<H", data, place)[0]  # of the tags
    data[end - 12 : end] = struct.pack("<HHII", 305, 2, 99, 1 << 30)  # a text behind the file's end
    file.write_bytes(data)
    code = f"from minialex.data import open_rgb; open_rgb({str(file)!r})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")


def test_names_that_cannot_be(tmp_path):
    with refused(DataError, "File name too long"):
        open_rgb(tmp_path / ("x" * 300 + ".png"))
    with refused(DataError, "embedded null"):
        open_rgb("a\0b.png")


@pytest.mark.parametrize("options", [
    {}, {"lossless": True}, {"save_all": True, "append_images": [Image.new("RGB", (80, 64))]}
], ids=["lossy", "lossless", "moving"])  # fmt: skip
def test_a_webp_is_refused_before_pillow_takes_its_memory(tmp_path, monkeypatch, options):
    small, large = tmp_path / "small.webp", tmp_path / "large.webp"
    Image.fromarray(PIXELS).save(small, **options)
    assert open_rgb(small).size == (80, 64)
    data = bytearray(small.read_bytes())
    form, side = bytes(data[12:16]), 12_345
    at, size = {
        b"VP8 ": (26, struct.pack("<HH", side, side)),
        b"VP8L": (21, struct.pack("<I", (side - 1) * 0x4001)),
        b"VP8X": (24, 2 * struct.pack("<I", side - 1)[:3]),
    }[form]
    data[at : at + len(size)] = size
    large.write_bytes(data)
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("opened"))
    with refused(PhotoError, f"would take {16 * side**2 / 1e6:,.0f} MB of memory"):
        open_rgb(large)


def test_images_that_are_refused_leave_the_memory(tmp_path):
    def images():
        return sum(isinstance(thing, Image.Image) for thing in gc.get_objects())

    gc.collect()
    before = images()
    for name in "abc":
        Image.fromarray(PIXELS).save(tmp_path / f"{name}.png")
        file = tmp_path / f"{name}.png"
        file.write_bytes(file.read_bytes()[:-3000])
    found = look_at([str(tmp_path / f"{name}.png") for name in "abc"], Silent())
    assert all(isinstance(error, PhotoError) for error in found.values())
    gc.collect()
    assert images() == before


def test_megabytes_of_text_in_a_png(tmp_path):
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", "x" * 3_000_000, zip=True)
    Image.fromarray(PIXELS).save(tmp_path / "a.png", pnginfo=text, icc_profile=bytes(3_000_000))
    assert np.array_equal(np.asarray(open_rgb(tmp_path / "a.png")), PIXELS)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
@pytest.mark.parametrize("side", [None, 8])
def test_a_jpeg_without_its_end_marker_is_read_and_a_shorter_one_is_not(tmp_path, options, side):
    whole, cut = tmp_path / "whole.jpg", tmp_path / "cut.jpg"
    Image.fromarray(PIXELS).save(whole, **options)
    data = whole.read_bytes()
    for less in (1, 2):
        cut.write_bytes(data[:-less])
        assert open_rgb(cut, side).tobytes() == open_rgb(whole, side).tobytes()
        fingerprint(cut)
    for less in (20, 200, len(data) // 2):
        cut.write_bytes(data[:-less])
        for read in (open_rgb, fingerprint):
            with refused(PhotoError, "damaged or cut short", "delete it or fetch it again"):
                read(cut)


def test_a_fingerprint_tells_files_apart_and_finds_most_damage(tmp_path, photo):
    (tmp_path / "same.png").write_bytes(photo.read_bytes())
    (tmp_path / "other.png").write_bytes(photo.read_bytes() + b" ")
    one, same, other = (fingerprint(tmp_path / f"{n}.png") for n in ("x", "same", "other"))
    assert one == same != other and one.startswith(f"{photo.stat().st_size}-")
    for end in ("png", "gif", "bmp", "tif", "webp", "jp2", "ppm"):
        Image.fromarray(PIXELS).save(tmp_path / f"y.{end}")
        fingerprint(tmp_path / f"y.{end}")
        data = (tmp_path / f"y.{end}").read_bytes()
        (tmp_path / f"y.{end}").write_bytes(data[: len(data) // 2])
        with refused(PhotoError, f"y.{end}"):
            fingerprint(tmp_path / f"y.{end}")


def test_no_other_program_is_started(tmp_path, monkeypatch):
    (tmp_path / "x.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    monkeypatch.setattr(subprocess, "check_call", lambda *_, **__: pytest.fail("started"))
    with refused(PhotoError, "not an image"):
        open_rgb(tmp_path / "x.jpg")


def test_a_transparent_grey_of_16_bits(tmp_path):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 0, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress(b"\0" + struct.pack(">HH", 300, 301)))
    whole = b"\x89PNG\r\n\x1a\n" + header + chunk(b"tRNS", struct.pack(">H", 300)) + rows
    (tmp_path / "x.png").write_bytes(whole + chunk(b"IEND", b""))
    assert np.asarray(open_rgb(tmp_path / "x.png"))[0].tolist() == [[255] * 3, [1] * 3]


def test_what_a_transform_refuses_names_the_file(tmp_path):
    make = Compose((Resize(256), ToArray()))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (1, 60_000)).save(tmp_path / name / "long.png")
    with refused(PhotoError, "a/long.png", "MB of memory"):
        next(iter(DataLoader(ImageFolder(tmp_path), 1, make)))
    with refused(PhotoError, "a/long.png", "cannot cut"):
        next(iter(DataLoader(ImageFolder(tmp_path), 1, Compose((CenterCrop(9), ToArray())))))


HOSTILE = {  # what the file x is, its ending, and whether it can be read
    "1 x 60,000": ("RGB", (1, 60_000), "png", True),
    "1,000,000 x 1": ("L", (1_000_000, 1), "png", True),
    "1 x 20,000,000": ("L", (1, 20_000_000), "tif", False),
    "16 bits": ("I;16", (4_500, 4_000), "png", True),
    "floats": ("F", (4_000, 4_500), "tif", True),
    "27 megapixels": ("RGB", (6_000, 4_500), "jpg", True),
    "RGB": ("RGB", (4_700, 4_750), "png", True),
    "webp": ("RGB", (4_500, 4_500), "webp", False),
    "alpha, whole": ("RGBA", (8_000, 9_000), "png", True),
}
PROGRAM = """
import resource, sys
import numpy as np
from PIL import Image
from minialex.data import *
from minialex.data import convert, image, transforms
from minialex.data.pixels import needed_side
from minialex.errors import DataError
assert convert.MAX_BYTES == transforms.MAX_BYTES == 600e6
part = int(sys.argv[2])
convert.MAX_BYTES = transforms.MAX_BYTES = 600_000_000 // part
image.MAX_PIXELS //= part
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
step = Compose((Resize(256), CenterCrop(227), ToArray()))
step(Image.new("RGB", (300, 300)))
before = peak()
try:
    photo = open_rgb(sys.argv[1], needed_side(step))
    print(step(photo).shape)
except DataError as error:
    print(error)
print(peak() - before)
"""


@pytest.mark.parametrize("name", HOSTILE)
def test_no_file_takes_more_memory_than_the_limit(tmp_path, name):
    """Of all but one, a quarter, and a quarter of the limits: that is quicker."""
    mode, size, end, readable = HOSTILE[name]
    part = 1 if name.endswith("whole") else 4
    path = str(tmp_path / f"x.{end}")
    Image.new(mode, size).save(path, **{"webp": {"method": 0}}.get(end, {}))
    run = [sys.executable, "-c", PROGRAM, path, str(part)]
    lines = subprocess.run(run, check=True, capture_output=True, text=True).stdout.splitlines()
    assert int(lines[1]) < 600e6 / part, lines
    assert (lines[0] == "(227, 227, 3)") is readable, lines
    assert readable or "MB of memory" in lines[0]


def test_the_limits_can_be_set(photo, monkeypatch):
    monkeypatch.setattr(page, "MAX_PIXELS", 1000)
    with refused(PhotoError, "more than 1,000 pixels"):
        open_rgb(photo)
