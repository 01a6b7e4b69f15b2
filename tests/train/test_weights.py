"""Weights to begin with: another head, and torchvision's file from a server that can misbehave."""

import hashlib
import json

import numpy as np
import pytest

import minialex as mx
import pets_server
import tiny_run
from bad_input import refused
from minialex.commands import train as command
from minialex.errors import CheckpointError, ConfigError, DataError
from minialex.models import AlexNet
from minialex.train.checkpoint import state_dict
from minialex.train.config import configure
from minialex.train.model_file import read_model
from minialex.train.torch_file import pth_bytes
from minialex.train.weights import torchvision_file, torchvision_options

SMALL = {"variant": "owt", "width": 1 / 16, "image_size": 67}


def alexnet(classes, seed=0):
    return AlexNet(classes, "owt", width=1 / 16, image_size=67, seed=seed)


def told_of(model, path):
    """What a run says of the weights in a file, that are `model`'s then."""
    lines = []
    read_model(path, model, lines.append)
    return "".join(lines)


@pytest.mark.parametrize("name", ["x.safetensors", "x.pth"])
def test_the_last_layer_is_new_where_the_classes_are_others(tmp_path, name):
    theirs, model = alexnet(1000, seed=1), alexnet(5, seed=2)
    fresh, path = state_dict(model), tmp_path / name
    mx.save(path, theirs)
    assert (
        told_of(model, path)
        == f"weights: {path}; its last layer is a new one, of 5 classes, not 1,000"
    )
    wanted = {**state_dict(theirs), **{k: fresh[k] for k in fresh if k.startswith("classifier.6")}}
    assert all(np.array_equal(a, wanted[key]) for key, a in state_dict(model).items())
    with refused(CheckpointError, path, "classifier.6.weight is (1000, 256), expected (5, 256)"):
        read_model(path, into=model)


def test_the_same_classes_keep_the_last_layer_and_other_misfits_are_refused(tmp_path):
    theirs, path = alexnet(5, seed=1), tmp_path / "x.pth"
    mx.save(path, theirs)
    model = alexnet(5)
    assert told_of(model, path) == f"weights: {path}"
    assert all(np.array_equal(a, state_dict(theirs)[k]) for k, a in state_dict(model).items())
    wider = AlexNet(3, "owt", width=1 / 8, image_size=67)
    with refused(CheckpointError, path, "features.0.weight"):
        told_of(wider, path)


def test_a_run_begins_with_a_pth_says_so_and_freezes(tmp_path):
    path = tmp_path / "x.pth"
    theirs = alexnet(1000, seed=1)
    mx.save(path, theirs)
    lines = []
    options = {**SMALL, "weights": str(path), "freeze": "features.*", "augment": "none"}
    training = tiny_run.training(tmp_path / "run", lines=lines, **options)
    assert f"weights: {path}; its last layer is a new one, of 2 classes, not 1,000" in lines
    training.train()
    for name, array in state_dict(mx.load(tmp_path / "run" / "best.safetensors")).items():
        same = array.shape == state_dict(theirs)[name].shape
        same = same and np.array_equal(array, state_dict(theirs)[name])
        assert same == name.startswith("features."), name


def started(*given):
    return command.start(command.parser().parse_args([*given]))[0]


@pytest.mark.parametrize("file", ["", "best.safetensors"])
def test_the_network_of_a_run_is_the_default_of_one_that_begins_with_its_weights(tmp_path, file):
    base = {"width": 1 / 16, "image_size": 67, "activation": "tanh", "normalize": "mean"}
    tiny_run.training(tmp_path / "base", variant="ungrouped", dropout=0.1, **base).train()
    weights, out = f"--weights={tmp_path / 'base' / file}", f"--out={tmp_path / 'new'}"
    config = started(weights, out, "--data=photos")
    assert {name: getattr(config, name) for name in base} == base
    assert (config.variant, config.dropout) == ("ungrouped", 0.5)  # not owt, as else for photos
    config = started(weights, out, "--variant=owt", "--width=0.5")
    assert (config.variant, config.width, config.image_size) == ("owt", 0.5, 67)


def test_beside_weights_from_elsewhere_and_of_fit_there_is_no_network_to_take(tmp_path):
    mx.save(tmp_path / "x.pth", alexnet(2))
    weights, out = f"--weights={tmp_path / 'x.pth'}", f"--out={tmp_path / 'new'}"
    assert started(weights, out).width == 1
    (tmp_path / "config.json").write_text('{"fit": {}}')
    assert started(weights, out).width == 1
    (tmp_path / "config.json").write_text('{"variant": "owt", "width": "1"}')
    with refused(CheckpointError, "config.json", "width is '1'"):
        started(weights, out)


@pytest.mark.parametrize("recipe, usual", [("modern", 0.1), ("paper", 0.1), ("drawings", 0)])
def test_without_augmentation_colours_stay_too_unless_told_otherwise(recipe, usual):
    assert configure({"recipe": recipe}).colour_shift == usual
    assert configure({"recipe": recipe, "augment": "none"}).colour_shift == 0
    told = {"recipe": recipe, "augment": "none", "colour_shift": 0.2}
    assert configure(told).colour_shift == 0.2


# --------------------------------------------------------------------------------- torchvision


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    made = pets_server.Server()
    made.body = pth_bytes(state_dict(alexnet(10, seed=1))).tobytes()
    made.digits = hashlib.sha256(made.body).hexdigest()[:8]
    made.address = f"{made.url}alexnet-owt-{made.digits}.pth"
    made.files = {f"alexnet-owt-{made.digits}.pth": made.body}
    yield made
    made.over.set()
    made.http.shutdown()
    made.http.server_close()
    made.thread.join()


def get(server, root, **options):
    return torchvision_file(server.address, root, report=lambda line: None, timeout=5,
                            progress=None, **options)  # fmt: skip


def test_the_file_is_downloaded_once_and_verified(server, tmp_path):
    lines = []
    path = torchvision_file(server.address, tmp_path, report=lines.append, progress=None)
    assert path.read_bytes() == server.body and len(server.requests) == 1
    assert lines == [f"downloading AlexNet's published weights, 244 MB, to {path}"]
    assert get(server, tmp_path) == path and len(server.requests) == 1


def test_a_download_goes_on_where_it_stopped(server, tmp_path):
    server.cut = 1000
    with refused(DataError, "connection lost after 1,000"):
        get(server, tmp_path)
    server.cut = None
    assert get(server, tmp_path).read_bytes() == server.body
    assert server.requests[1][1] == "bytes=1000-"


def test_another_file_is_refused_and_deleted(server, tmp_path):
    (name,) = server.files
    server.files[name] = server.body[:-1] + b"x"
    with refused(DataError, name, "was damaged on its way", f"expected {server.digits}"):
        get(server, tmp_path)
    assert not any(path.suffix in (".pth", ".part") for path in tmp_path.iterdir())


def test_a_server_that_refuses(server, tmp_path):
    server.status = 404
    with refused(DataError, "the server refused", "HTTP 404", f"put it at '{tmp_path}"):
        get(server, tmp_path)


@pytest.mark.parametrize("name, value", [
    ("variant", "2012"), ("width", 0.5), ("normalize", "mean"), ("lrn", True), ("pooling", "max2"),
])  # fmt: skip
def test_options_of_another_network_are_refused_before_the_download(name, value):
    with refused(ConfigError, f"torchvision's weights are of a network with --{name}"):
        torchvision_options({name: value, "weights": "torchvision"})


def test_the_command_takes_torchvisions_network_and_normalization(tmp_path, monkeypatch):
    file = tmp_path / "x.pth"
    mx.save(file, alexnet(10))
    monkeypatch.setattr(command, "torchvision_file", lambda report: file)
    monkeypatch.setattr(tiny_run, "OPTIONS", {"epochs": 1, "device": "cpu"})
    given = ["--weights=torchvision", "--recipe=paper", f"--out={tmp_path / 'run'}"]
    options = command.parser().parse_args(given)
    config, _, _ = command.start(options)
    assert (config.variant, config.normalize, config.lrn) == ("owt", "imagenet", False)
    assert config.weights == str(file) and json.dumps(config.freeze) == "null"
    with refused(ConfigError, "epochs must be at least 1"):
        monkeypatch.setattr(command, "torchvision_file", None)
        command.start(command.parser().parse_args(["--weights=torchvision", "--epochs=0"]))
