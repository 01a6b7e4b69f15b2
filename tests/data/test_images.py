"""open_rgb: every kind of file becomes an upright RGB image or one clear line."""

import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from bad_input import refused, snapshot
from minialex.data import image as image_page
from minialex.data import open_rgb
from minialex.errors import DataError

RED, WHITE = (255, 0, 0), (255, 255, 255)


def pixels(image):
    assert type(image) is Image.Image and image.mode == "RGB"
    return np.asarray(image)


def blocks(width=64, height=48):
    """A picture without symmetry that survives JPEG: four quarters of different colours."""
    x = np.zeros((height, width, 3), np.uint8)
    x[: height // 2, : width // 2] = (250, 20, 20)
    x[: height // 2, width // 2 :] = (20, 250, 20)
    x[height // 2 :, : width // 2] = (20, 20, 250)
    x[height // 2 :, width // 2 :] = (240, 240, 240)
    return x


# ------------------------------------------------------------------------------------- colour modes

GREY = np.arange(0, 256, 5, dtype=np.uint8).reshape(4, 13)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "pgm", "gif", "tga"])
def test_grey(tmp_path, suffix):
    Image.fromarray(GREY).save(tmp_path / f"x.{suffix}")
    expected = np.repeat(GREY[:, :, None], 3, axis=2)
    assert np.array_equal(pixels(open_rgb(tmp_path / f"x.{suffix}")), expected)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm", "webp", "tga", "jp2"])
def test_colour_without_loss(tmp_path, suffix):
    x = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    options = {"webp": {"lossless": True}, "jp2": {"irreversible": False}}.get(suffix, {})
    Image.fromarray(x).save(tmp_path / f"x.{suffix}", **options)
    assert np.array_equal(pixels(open_rgb(tmp_path / f"x.{suffix}")), x)


def test_one_bit(tmp_path):
    x = np.array([[True, False, True], [False, False, True]])
    Image.fromarray(x).convert("1").save(tmp_path / "x.png")
    assert np.array_equal(
        pixels(open_rgb(tmp_path / "x.png")), np.repeat(x[:, :, None] * np.uint8(255), 3, axis=2)
    )


def test_palette(tmp_path):
    Image.fromarray(blocks()).quantize(8).save(tmp_path / "x.png")
    assert np.abs(pixels(open_rgb(tmp_path / "x.png")).astype(int) - blocks()).max() <= 8


def test_alpha_lies_over_white(tmp_path):
    x = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [255, 0, 0, 128]]], np.uint8)
    Image.fromarray(x).save(tmp_path / "x.png")
    row = [[255, 0, 0], [255, 255, 255], [255, 127, 127]]
    assert pixels(open_rgb(tmp_path / "x.png")).tolist() == [row]


def test_grey_with_alpha(tmp_path):
    x = np.array([[[10, 255], [10, 0]]], np.uint8)
    Image.fromarray(x, "LA").save(tmp_path / "x.png")
    assert pixels(open_rgb(tmp_path / "x.png")).tolist() == [[[10] * 3, [255] * 3]]


def test_transparent_colour_of_a_palette(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "x.png", transparency=1)
    assert pixels(open_rgb(tmp_path / "x.png")).tolist() == [[list(RED), list(WHITE)]]


def test_palette_with_an_alpha_for_each_colour(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "x.png", transparency=bytes([255, 128]))
    assert pixels(open_rgb(tmp_path / "x.png")).tolist() == [[list(RED), [127, 127, 255]]]


def test_transparent_colour_of_an_rgb_image(tmp_path):
    image = Image.fromarray(np.array([[RED, (0, 0, 255)]], np.uint8))
    image.save(tmp_path / "x.png", transparency=(0, 0, 255))
    assert pixels(open_rgb(tmp_path / "x.png")).tolist() == [[list(RED), list(WHITE)]]


@pytest.mark.parametrize("suffix", ["jpg", "tiff"])
def test_cmyk(tmp_path, suffix):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / f"x.{suffix}")
    assert np.abs(pixels(open_rgb(tmp_path / f"x.{suffix}")).astype(int) - RED).max() <= 3


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path, suffix):
    x = np.array([[0, 128, 129, 257, 128 * 257, 65535]], np.uint16)  # 257 = 65535 / 255
    Image.fromarray(x).save(tmp_path / f"x.{suffix}")
    assert pixels(open_rgb(tmp_path / f"x.{suffix}"))[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255]


def test_dark_sixteen_bit_grey_stays_dark(tmp_path):
    Image.fromarray(np.full((2, 2), 200, np.uint16)).save(tmp_path / "x.png")
    assert pixels(open_rgb(tmp_path / "x.png")).max() == 1


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([0, 100, 255], np.int32, [0, 100, 255]),
        ([0, 257, 65535], np.int32, [0, 1, 255]),
        ([-1000, 0, 1000], np.int32, [0, 128, 255]),
        ([0, 0.2, 1], np.float32, [0, 51, 255]),
        ([0, 99.6, 255], np.float32, [0, 100, 255]),
        ([-1, 0, 3], np.float32, [0, 64, 255]),
        ([np.nan, np.inf, 1], np.float32, [0, 0, 255]),
        ([0, 0, 0], np.float32, [0, 0, 0]),
        ([-5, -5, -5], np.float32, [0, 0, 0]),
    ],
)
def test_32_bit_grey(tmp_path, values, dtype, expected):
    Image.fromarray(np.array([values], dtype)).save(tmp_path / "x.tiff")
    assert pixels(open_rgb(tmp_path / "x.tiff"))[0, :, 1].tolist() == expected


def test_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, (0, 0, 255))]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert np.array_equal(pixels(open_rgb(tmp_path / "x.gif")), np.full((4, 4, 3), RED))


# ------------------------------------------------------------------------------ EXIF and draft mode

UPRIGHT = {  # what undoes each of the eight orientations (EXIF 2.3, tag 274)
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff"])
def test_exif_orientation(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(blocks()).save(tmp_path / f"x.{suffix}", exif=exif)
    shown, expected = pixels(open_rgb(tmp_path / f"x.{suffix}")), UPRIGHT[orientation](blocks())
    assert shown.shape == expected.shape
    # Away from JPEG's soft edges.
    centre = shown[12::24, 12::24].astype(int) - expected[12::24, 12::24]
    assert np.abs(centre).max() <= 12


@pytest.mark.parametrize(
    "exif",
    [b"Exif\0\0broken", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"],
)
# Pillow's own remark, not an error outside of tests.
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_broken_exif_tag_is_no_reason_to_refuse(tmp_path, exif):
    Image.fromarray(blocks()).save(tmp_path / "x.jpg", exif=exif)
    assert open_rgb(tmp_path / "x.jpg").size == (64, 48)


@pytest.mark.parametrize(
    ("shorter_side", "expected"),
    [
        (None, (640, 480)),
        (480, (640, 480)),
        (241, (640, 480)),
        (240, (320, 240)),
        (120, (160, 120)),
        (10, (80, 60)),
    ],
)
def test_draft_decodes_no_more_than_it_must(tmp_path, shorter_side, expected):
    Image.fromarray(blocks(640, 480)).save(tmp_path / "x.jpg")
    shown = open_rgb(tmp_path / "x.jpg", shorter_side)
    assert shown.size == expected
    full = Image.fromarray(blocks(640, 480)).resize(expected, Image.Resampling.BOX)
    assert np.abs(pixels(shown).astype(int) - np.asarray(full)).mean() < 3


def test_draft_never_goes_below_the_shorter_side(tmp_path):
    for width, height in [(513, 300), (300, 513), (1023, 257), (2049, 2049)]:
        Image.new("RGB", (width, height)).save(tmp_path / "x.jpg")
        assert min(open_rgb(tmp_path / "x.jpg", 256).size) >= 256


def test_a_png_is_not_resized(tmp_path):
    Image.fromarray(blocks()).save(tmp_path / "x.png")
    assert open_rgb(tmp_path / "x.png", 8).size == (64, 48)


# ---------------------------------------------------------------------------------------- bad files


def png_header(width, height):
    """A PNG that declares a size and has no pixels: whoever decodes it fails in another way."""
    header, pixels = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT"
    chunks = [
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c))
        for c in (header, pixels)
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def write_bad_files(folder):
    """{file name: what its message must say}."""
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(
        folder / "good.jpg"
    )
    Image.open(folder / "good.jpg").save(folder / "good.png")
    Image.open(folder / "good.jpg").save(folder / "good.gif")
    jpg, png, gif = ((folder / f"good.{s}").read_bytes() for s in ("jpg", "png", "gif"))
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 0xFF
    bad = {
        "empty.jpg": (b"", "empty"),
        "text.jpg": (b"this is no image\n" * 9, "not an image"),
        "html.png": (b"<!DOCTYPE html><html>404</html>", "not an image"),
        "half.jpg": (jpg[: len(jpg) // 2], "cut short"),
        "half.png": (png[: len(png) // 2], "cut short"),
        "half.gif": (gif[: len(gif) // 2], "cut short"),
        "header.jpg": (jpg[:20], "not an image"),
        "flipped.png": (bytes(flipped), "damaged"),
        "bomb.png": (png_header(50_000, 50_000), "pixels"),
        "big.png": (png_header(9_460, 9_460), "pixels"),
        "nothing.png": (png_header(8, 8), "damaged"),
        "new\nline.jpg": (b"nothing", "not an image"),
    }
    for name, (content, _) in bad.items():
        (folder / name).write_bytes(content)
    return {name: says for name, (_, says) in bad.items()}


def test_bad_files_give_one_line_each_and_stay_as_they_are(tmp_path):
    bad = write_bad_files(tmp_path)
    before = snapshot(tmp_path)
    for name, says in bad.items():
        with refused(DataError, repr(str(tmp_path / name)), says):
            open_rgb(tmp_path / name, 32)
    assert snapshot(tmp_path) == before


def test_missing_folder_and_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with refused(DataError, "nowhere.jpg", "no such file"):
        open_rgb(tmp_path / "nowhere.jpg")
    with refused(DataError, tmp_path, "folder"):
        open_rgb(tmp_path)
    with refused(DataError, "pipe.jpg", "not a regular file"):
        open_rgb(tmp_path / "pipe.jpg")
    with refused(DataError, "embedded null"):
        open_rgb("a\0b.jpg")


def test_the_limit_counts_pixels(tmp_path, monkeypatch):
    Image.new("RGB", (10, 10)).save(tmp_path / "x.jpg")
    monkeypatch.setattr(image_page, "MAX_PIXELS", 100)
    assert open_rgb(tmp_path / "x.jpg").size == (10, 10)
    monkeypatch.setattr(image_page, "MAX_PIXELS", 99)
    assert open_rgb(tmp_path / "x.jpg").size == (5, 5)  # a JPEG can be decoded smaller
    Image.new("RGB", (10, 10)).save(tmp_path / "x.png")
    with refused(DataError, "99 pixels"):
        open_rgb(tmp_path / "x.png", 1)


def test_threads_see_what_one_thread_sees(tmp_path):
    rng = np.random.default_rng(0)
    for k in range(12):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(
            tmp_path / f"{k}.{'jpg' if k % 2 else 'png'}"
        )
    paths = sorted(tmp_path.iterdir()) * 8
    with ThreadPoolExecutor(8) as pool:
        shown = list(pool.map(open_rgb, paths))
    assert all(
        np.array_equal(image, open_rgb(path)) for image, path in zip(shown, paths, strict=True)
    )
