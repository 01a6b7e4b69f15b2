"""Bad options, photos, GPUs: one clear line, a non-zero exit, every existing file as it was."""

import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from bad_input import snapshot
from photo_runs import PHOTOS, as_root, check, make, move, nothing, stub_cupy, train

PROGRAM = [sys.executable, "-m", "minialex", "train"]
EXAMPLE = Path(__file__).parents[1] / "examples" / "train_catdog.py"


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return make(tmp_path_factory.mktemp("template"))


@pytest.fixture
def w(template, tmp_path, monkeypatch):
    """A copy of `template` to spoil; the current folder."""
    move(template, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# -------------------------------------------------------------------------------------------- flags

FLAGS = [  # flag, value, what the line must say
    (
        "--variant",
        "resnet",
        "unknown --variant 'resnet'; choose 2012, ungrouped, owt, 2012-program, owt2014",
    ),
    ("--optimizer", "lion", "unknown --optimizer 'lion'; choose adam, adamw, sgd"),
    ("--schedule", "linear", "unknown --schedule 'linear'; choose constant, step, cosine, plateau"),
    ("--recipe", "secret", "unknown --recipe 'secret'; choose drawings, modern, paper"),
    ("--init", "zeros", "unknown --init 'zeros'; choose he, glorot, paper"),
    ("--activation", "swish", "'swish'; choose relu, tanh, sigmoid"),
    ("--pooling", "min", "'min'; choose max, average, max2"),
    ("--algorithm", "fft", "unknown --algorithm 'fft'; choose auto, im2col, winograd"),
    ("--normalize", "none", "unknown --normalize 'none'; choose imagenet, mean"),
    ("--dropout", "1", "--dropout must be in [0, 1), got 1.0"),
    ("--dropout", "nan", "--dropout must be in [0, 1), got nan"),
    ("--crop-scale", "0", "--crop-scale must be above 0 and at most 1, got 0.0"),
    ("--crop-scale", "1.5", "--crop-scale must be above 0 and at most 1, got 1.5"),
    ("--colour-shift", "-0.1", "--colour-shift must be a number of 0 or more, got -0.1"),
    ("--warm-up", "-1", "--warm-up must be 0 or more, got -1"),
    ("--threads", "0", "--threads must be at least 1, got 0"),
    ("--patience", "0", "--patience must be at least 1, got 0"),
    ("--plateau-patience", "0", "--plateau-patience must be at least 1, got 0"),
    ("--augment", "mixup", "unknown --augment 'mixup'; choose none, crop, full"),
    ("--device", "tpu", "unknown --device 'tpu'; choose cpu, gpu, auto"),
    ("--lr", "-1", "--lr must be a number of 0 or more, got -1.0"),
    ("--lr", "nan", "--lr must be a number of 0 or more, got nan"),
    ("--lr", "inf", "--lr must be a number of 0 or more, got inf"),
    ("--weight-decay", "-0.1", "--weight-decay must be a number of 0 or more"),
    ("--weight-decay", "nan", "--weight-decay must be a number of 0 or more"),
    ("--label-smoothing", "1", "--label-smoothing must be in [0, 1), got 1.0"),
    ("--label-smoothing", "nan", "--label-smoothing must be in [0, 1), got nan"),
    ("--batch-size", "0", "--batch-size must be at least 1, got 0"),
    ("--batch-size", "-8", "--batch-size must be at least 1, got -8"),
    ("--epochs", "0", "--epochs must be at least 1, got 0"),
    ("--log-interval", "0", "--log-interval must be at least 1, got 0"),
    ("--seed", "-1", "--seed must be 0 or more, got -1"),
    ("--workers", "-1", "--workers must be 0 or more, got -1"),
    ("--limit", "1", "--limit must be at least 2, got 1"),
    ("--limit", "-5", "--limit must be at least 2, got -5"),
    ("--width", "0", "--width must be above 0 and at most 4, got 0.0"),
    ("--width", "nan", "--width must be above 0 and at most 4, got nan"),
    ("--width", "5", "--width must be above 0 and at most 4, got 5.0"),
    ("--image-size", "20", "images of side 20 are too small; use at least 67"),
    ("--image-size", "4096", "AlexNet: num_classes, width or image_size cannot be: "),
    ("--image-size", "0", "--image-size must be at least 1, got 0"),
    ("--image-size", "-67", "--image-size must be at least 1, got -67"),
]


@pytest.mark.parametrize(("flag", "value", "words"), FLAGS, ids=[f"{f}={v}" for f, v, _ in FLAGS])
def test_flags(w, capsys, flag, value, words):
    check(w, capsys, [*PHOTOS, flag, value], words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--lr", "fast"), "argument --lr: invalid float value: 'fast'"),
        (("--epochs", "2.5"), "argument --epochs: invalid int value: '2.5'"),
        (("--seed", ""), "argument --seed: invalid int value: ''"),
        (("--batch-size",), "argument --batch-size: expected one argument"),
        (("--momentum", "0.9"), "unrecognized arguments: --momentum 0.9"),
        (("photos",), "unrecognized arguments: photos"),
        (("--l", "3"), "ambiguous option: --l"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_flags_that_cannot_be_parsed(w, capsys, arguments, words):
    before = snapshot(w)
    assert train([*arguments]) == 2
    out, err = capsys.readouterr()
    assert not out and len(err.splitlines()) == 1
    assert err.startswith("error: ") and words in err and err.endswith("--help lists the options\n")
    assert snapshot(w) == before


# --------------------------------------------------------------------------------------------- data


def files(*names):
    """Spoil: make these files in a folder `data` beside the photos."""

    def spoil(w):
        (w / "data").mkdir()
        for name in names:
            path = w / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix:
                shutil.copy(w / "photos/train/cat/0.png", path)
            else:
                path.mkdir()

    return spoil


PAIR = ("train/cat/0.png", "train/cat/1.png", "train/dog/0.png", "train/dog/1.png")
DATA = [  # name, spoil, value of --data, words
    (
        "missing",
        nothing,
        "{w}/nowhere",
        ("nowhere'; choose drawings, pets or a folder",),
    ),
    ("a file", nothing, "{w}/file", ("file'; choose drawings, pets or a folder",)),
    ("misspelt", nothing, "drawing", ("no folder 'drawing'; choose drawings, pets",)),
    ("empty", files(), "{w}/data", ("{w}/data", "has no class folders")),
    (
        "photos without classes",
        files("0.png", "1.png"),
        "{w}/data",
        ("{w}/data", "has no class folders"),
    ),
    (
        "one class",
        files("cat/0.png", "cat/1.png", "cat/2.png"),
        "{w}/data",
        ("one class only, 'cat'",),
    ),
    (
        "empty class",
        files(*PAIR, "test/cat/0.png", "test/dog"),
        "{w}/data",
        ("test/dog", "has no images"),
    ),
    (
        "one photo in a class",
        files("cat/0.png", "dog/0.png", "dog/1.png"),
        "{w}/data",
        ("'cat' has 1 photos; at least 3 are needed",),
    ),
    (
        "train without test",
        files(*PAIR),
        "{w}/data",
        ("'cat' has 2 photos; at least 3 are needed",),
    ),
    (
        "test without train",
        files("test/cat/0.png"),
        "{w}/data",
        ("{w}/data", "one class only"),
    ),
    (
        "classes differ",
        files(*PAIR, "test/cat/0.png", "test/hound/0.png"),
        "{w}/data",
        ("class 'dog' is in train but not in test",),
    ),
    (
        "a class too many",
        files(*PAIR, "test/cat/0.png", "test/dog/0.png", "test/cow/0.png"),
        "{w}/data",
        ("class 'cow' is in test but not in train",),
    ),
]


@pytest.mark.parametrize(
    ("spoil", "data", "words"), [c[1:] for c in DATA], ids=[c[0] for c in DATA]
)
def test_data(w, capsys, spoil, data, words):
    spoil(w)
    check(w, capsys, [*PHOTOS, "--data", data], *words)


def huge_png(whole):
    """A PNG that declares 30,000 x 30,000 pixels."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return whole[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + whole[33:]


def scrambled(whole):
    middle = len(whole) // 2
    wrong = bytes(b ^ 0x55 for b in whole[middle : middle + 200])
    return whole[:middle] + wrong + whole[middle + 200 :]


BROKEN_PHOTOS = {
    "empty": (lambda whole: b"", "the file is empty"),
    "cut short": (lambda whole: whole[: len(whole) // 2], "the file is damaged or cut short"),
    "scrambled": (scrambled, "the file is damaged or cut short"),
    "text": (lambda whole: b"this is no photo\n" * 9, "it is not an image"),
    "huge": (huge_png, "pixels; make it smaller"),
}


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("kind", BROKEN_PHOTOS)
def test_a_broken_photo(w, capsys, kind, part):
    spoil, words = BROKEN_PHOTOS[kind]
    photo = w / "photos" / part / "dog" / "2.png"
    photo.write_bytes(spoil(photo.read_bytes()))
    check(w, capsys, PHOTOS, "cannot", repr(str(photo)), words, may_start=True)


@as_root
def test_a_photo_that_may_not_be_read(w, capsys):
    (w / "photos/train/cat/0.png").chmod(0)
    check(w, capsys, PHOTOS, "photos/train/cat/0.png", "Permission denied", may_start=True)


# ------------------------------------------------------------------------------------------ devices

DEVICES = [  # name, what the stand-in for CuPy does differently, words
    ("no CuPy", "raise ModuleNotFoundError('x', name='cupy')",
     "CuPy is not installed; install it with: pip"),
    ("broken CuPy", "raise ImportError('libcudart.so.12 is missing')",
     "cannot be imported (libcudart.so.12"),
    ("no driver", "runtime.driverGetVersion = lambda: 0", "no NVIDIA driver was found"),
    ("old driver", "runtime.driverGetVersion = lambda: 11040",
     "the NVIDIA driver is too old: it supports CUDA 11.4"),
    ("no GPU", "runtime.getDeviceCount = lambda: fail('cudaErrorNoDevice: none')",
     "no GPU is visible"),
    ("no NVRTC", "ones = lambda *a, **k: fail('libnvrtc.so.12: none')",
     "cannot be used (NVRTC cannot be found)"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "words"), [c[1:] for c in DEVICES], ids=[c[0] for c in DEVICES])
def test_devices(w, capsys, monkeypatch, change, words):
    stub_cupy(w, change)
    # So that the end of the test removes what is imported here.
    monkeypatch.setitem(sys.modules, "cupy", None)
    del sys.modules["cupy"]
    monkeypatch.syspath_prepend(w / "stub")
    check(w, capsys, [*PHOTOS, "--device", "gpu"], "--device gpu: ", words)


# -------------------------------------------------------------------------------------- as programs


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            (*PHOTOS, "--device", "cpu", "--variant", "vgg"),
            "'vgg'; choose 2012, ungrouped, owt, 2012-program, owt2014",
        ),
        ((*PHOTOS, "--device", "gpu"), "error: --device gpu: no NVIDIA driver was found"),
        (("--resume", "{w}/nowhere"), "error: '{w}/nowhere' holds no run"),
        (
            (*PHOTOS, "--device", "cpu", "--lr", "1e30", "--epochs", "3"),
            "lower the learning rate (--lr)",
        ),
    ],
)
@pytest.mark.parametrize("program", [PROGRAM, [sys.executable, EXAMPLE]], ids=["", "example"])
def test_the_program_ends_with_one_line_and_status_2(w, program, arguments, words):
    stub_cupy(w, "runtime.driverGetVersion = lambda: 0")
    before = snapshot(w)
    command = [*program, *(a.format(w=w) for a in arguments)]
    path = os.pathsep.join([str(w / "stub"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path}
    end = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert end.returncode == 2, end.stderr
    errors = [line for line in end.stderr.splitlines() if line.startswith("error: ")]
    assert end.stderr.splitlines() == errors and len(errors) == 1, end.stderr
    assert words.format(w=w) in errors[0]
    after = snapshot(w)
    assert {name: after.get(name) for name in before} == before
    assert not (w / "new" / "last.safetensors").exists()  # weights that are no numbers are not kept
