"""Three networks of one's own, as safe and as useful as AlexNet: killed, resumed, asked."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import minialex as mx
import networks
from bad_input import snapshot
from device import DEVICE, assert_allclose, on_device, on_host
from forked import Forked
from minialex.train.checkpoint import load_checkpoint
from networks import CLASSES, NETWORKS, TRIED, drawings, loaders, training
from trained import command, read_page

PROGRAM = [sys.executable, str(Path(__file__).parents[1] / "helpers" / "networks.py")]
KILLS = 20 if DEVICE == "cpu" else 4  # the emulated GPU is slow to start

each = pytest.mark.parametrize("name", TRIED)


def start(*arguments):
    """The program of helpers/networks.py; what it writes can be read byte by byte."""
    return subprocess.Popen(
        [*PROGRAM, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )


def complete(*arguments):
    """Run the program to its end; the seconds until its first step was made, and those after."""
    began = time.monotonic()
    process = Forked(networks.main, *arguments)
    first = process.stdout.read(1)
    ready = time.monotonic()
    while process.stdout.read(1) not in (b"E", b""):
        pass
    done = time.monotonic()
    _, errors = process.communicate()
    assert (process.returncode, errors) == (0, b"") and first in (b".", b"E")
    return ready - began, done - ready


def outcome(folder):
    """All that a run leaves, except how long it took."""
    tensors, header = load_checkpoint(folder / "last.safetensors")
    for row in header["progress"]["history"]:
        assert row.pop("images_per_s") > 0
    assert header["progress"].pop("seconds") > 0
    history = (folder / "history.csv").read_text().splitlines()
    return (
        {name: array.tobytes() for name, array in tensors.items()}, header,
        [line.rpartition(",")[0] for line in history],
        *((folder / name).read_bytes() for name in ("best.safetensors", "config.json")),
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """For each network: what a run leaves that nobody stopped, and how long its two parts took."""
    found = {}

    def run(name):
        if name not in found:
            folder = tmp_path_factory.mktemp(name)
            complete("lenet", folder / "first")  # which starts the server of the forks
            seconds = complete(name, folder / "run")
            found[name] = outcome(folder / "run"), *seconds
        return found[name]

    return run


@each
def test_sigkill_at_random_moments(name, whole, tmp_path):
    """Every fourth at any time since the program began, the others after its first step."""
    want, starting, stepping = whole(name)
    rng = np.random.default_rng(len(name))
    kills = in_steps = finished = 0
    while kills < KILLS or (tmp_path / str(finished)).exists():
        folder = tmp_path / str(finished)
        if kills < KILLS:
            process = Forked(networks.main, name, folder)
            written, ended = kill(process, rng, kills % 4 == 0, starting, stepping)
            kills += not ended
            in_steps += not ended and b"." in written and b"E" not in written
        else:
            complete(name, folder)
            ended = True
        if ended:  # compare, and begin another
            assert outcome(folder) == want
            finished += 1
    assert finished and in_steps >= KILLS // 3


def kill(process, rng, early, starting, stepping):
    """Kill at random; what the process had written, and whether it had ended by itself."""
    written = b""
    if early:
        time.sleep(rng.uniform(0, starting))
    else:
        written = process.stdout.read(1)
        time.sleep(rng.uniform(0, stepping))
    ended = process.poll() is not None
    process.kill()
    rest, errors = process.communicate()
    assert errors == b"" and process.returncode in ((0,) if ended else (0, -signal.SIGKILL))
    return written + rest, process.returncode == 0


@pytest.mark.parametrize(
    "name, number", [*((name, signal.SIGINT) for name in TRIED), ("lenet", signal.SIGTERM)]
)
def test_ctrl_c_ends_after_a_checkpoint_and_the_run_goes_on(name, number, whole, tmp_path):
    want, folder = whole(name)[0], tmp_path / "run"
    process = start(name, folder, 0.05)
    for _ in range(5):  # three steps an epoch
        process.stdout.read(1)
    process.send_signal(number)
    written, errors = process.communicate()
    assert process.returncode == -signal.SIGINT
    assert errors.splitlines()[-1].startswith(b"KeyboardInterrupt: stopped after step ")
    progress = load_checkpoint(folder / "last.safetensors")[1]["progress"]
    steps = 3 * progress["epoch"] + progress["batch"]
    assert steps == 5 + written.count(b".") < 15 and b"E" not in written
    complete(name, folder)
    assert outcome(folder) == want
    assert not [file for file in os.listdir(folder) if file.endswith(".tmp")]


# ------------------------------------------------------------------------- after the training


@pytest.fixture(scope="module", params=TRIED)
def trained(request, tmp_path_factory):
    """(model, run folder, folder of photos, transform of the photos) of each network."""
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    for part, length in (("train", 8), ("test", 4)):
        for i, (image, label) in enumerate(drawings(NETWORKS[name][1], length)):
            path = folder / "photos" / part / CLASSES[label] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
    loader, _ = loaders(name, mx.ImageFolder(folder / "photos" / "train"))
    run = training(name, folder / "run", loader=loader)
    run.train()
    return run.model, folder / "run", folder / "photos", run.val.transform


def test_a_checkpoint_knows_the_network_and_its_preprocessing(trained):
    model, folder, photos, transform = trained
    images = mx.ImageFolder(photos / "test")
    x = on_device(np.stack([transform(image) for image, _ in images]))
    logits = on_host(model.train(False)(x)).astype(np.float64)
    want = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for path in (folder, folder / "best.safetensors"):
        predictor = mx.Predictor(path, DEVICE)
        assert predictor.classes == list(CLASSES) and predictor.transform == transform
        for (file, _), p in zip(images.samples, want, strict=True):
            found = predictor.predict(file)
            np.testing.assert_allclose(list(found["probabilities"].values()), p, atol=1e-5)
            assert found["class"] == CLASSES[p.argmax()]
    again = mx.load(folder / "best.safetensors", device=DEVICE).train(False)
    assert_allclose(again(x), logits, rtol=1e-4, atol=1e-5)


def test_the_commands_know_it_too(trained, tmp_path, capsys):
    model, folder, photos, transform = trained
    loader = mx.DataLoader(mx.ImageFolder(photos / "test"), 4, transform)
    loss, accuracy = mx.evaluate(model, loader)
    before = snapshot(folder)

    assert command("evaluate", folder, "--data", photos) == 0
    said = f"loss {loss:.4f}  accuracy {accuracy:.1%}  ({round(4 * accuracy)} of 4)"
    told = capsys.readouterr().out.splitlines()
    assert told[1] == said

    assert command("predict", folder / "best.safetensors", photos / "test") == 0
    lines = capsys.readouterr().out.splitlines()
    *answers, _, advice = told[1:]
    assert advice.startswith("a page about it: ") and advice.endswith("--report report.html")
    assert lines[4:] == ["4 photos in folders named like classes:", *answers]

    out = tmp_path / "pictures"
    assert command("pictures", folder, photos / "test", "--data", photos, "--out", out) == 0
    assert capsys.readouterr().out.splitlines() == [str(out / "index.html")]
    headings, pictures = read_page(out / "index.html")
    assert len(headings) > 5 and np.mean([shown.std() > 10 for shown, _ in pictures]) > 0.5
    assert snapshot(folder) == before
