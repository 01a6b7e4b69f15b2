"""What `mx.fit` is told: mistakes are named in one line, and what can be meant is understood."""

import numpy as np
import pytest

import minialex as mx
from bad_input import refused
from device import DEVICE
from minialex.errors import CheckpointError, ConfigError
from networks import NETWORKS, drawings, loaders, training


@pytest.mark.parametrize(
    "option, value",
    [
        ("epochs", 0), ("epochs", 2.5), ("epochs", "3"), ("log_interval", 0), ("warm_up", -1),
        ("warm_up", None), ("patience", 0), ("plateau", 0), ("label_smoothing", 1.0),
        ("label_smoothing", "0.1"), ("memory_limit", "2GB"), ("loader", [1]), ("val", [1]),
    ],
)  # fmt: skip
def test_arguments_that_cannot_work_are_refused_before_anything_is_written(option, value, tmp_path):
    with refused(ConfigError, f"fit: {option} must be", "list" if value == [1] else repr(value)):
        training("lenet", tmp_path / "run", **{option: value})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("labels, found", [((0, 1, 2), "0..2"), ((-1, 0), "-1..0")])
@pytest.mark.parametrize("plain", [True, False])
def test_labels_that_are_none_of_the_network_are_refused_on_each_device(labels, found, plain):
    """A loss on a GPU does not look at them, and would train on nonsense."""
    pictures = [(image, labels[i % len(labels)]) for i, (image, _) in enumerate(drawings(24))]
    bad = mx.DataLoader(pictures, 12)
    for options in ({"loader": bad, "val": None}, {"val": bad}):
        with refused(ValueError, f"labels must lie in 0..1, got {found}"):
            training("lenet", plain=plain, **options).train()


def test_a_limit_that_pages_cannot_keep_is_refused():
    with refused(ConfigError, "fit: plain pages keep to no memory_limit"):
        training("lenet", plain=True, memory_limit=10**9)


def test_the_optimizer_of_another_model_is_refused():
    other = NETWORKS["lenet"][0]()
    for optimizer in (mx.Adam(other), mx.Adam(other).theta, None):
        with refused(ConfigError, "fit: the optimizer is another model's", "Adam(model)"):
            training("lenet", optimizer=lambda model, optimizer=optimizer: optimizer)


class Scheduled(mx.SGD):
    """An optimizer that keeps something which no file can."""

    def __init__(self, model, name):
        super().__init__(model, lr=0.01)
        setattr(self, name, lambda step: 1.0)


def test_an_optimizer_of_ones_own_says_what_is_no_setting_of_it(tmp_path):
    with refused(ConfigError, "JSON cannot hold function: let the name of such", "begin with _"):
        training("lenet", tmp_path / "run", optimizer=lambda model: Scheduled(model, "factor"))
    assert not (tmp_path / "run").exists()
    training("lenet", tmp_path / "run", optimizer=lambda model: Scheduled(model, "_factor"))


def test_numbers_may_be_those_of_numpy(tmp_path):
    def run(**options):
        model = mx.Sequential(
            mx.Flatten(), mx.Dropout(np.float32(0.1), seed=np.int64(2)),
            mx.Linear(np.prod((28, 28, 3)), np.int64(2), rng=np.random.default_rng(0)),
        )  # fmt: skip
        return training(
            "lenet", tmp_path, model=model, loader=loaders("lenet", batch_size=np.int32(4))[0],
            optimizer=lambda model: mx.Adam(model, lr=np.float32(1e-3)), keep_last=True,
            label_smoothing=np.float64(0.1), warm_up=np.int64(1), **options,
        )  # fmt: skip

    run(epochs=np.int64(1)).train()
    assert len(run(epochs=2).train()) == 2
    assert mx.load(tmp_path / "best.safetensors")[2].in_features == 2352


def test_validation_takes_as_many_images_at_a_time_as_its_loader_says():
    big = mx.DataLoader(drawings(28), 12, loaders("lenet")[1].transform)
    assert training("lenet", val=big).val is big


def test_random_crops_are_no_preprocessing_for_photos(tmp_path):
    """So a run without validation does not say how photos are to be prepared; one may say so."""
    training("lenet", tmp_path / "run", val=None).train()
    drawings(28)[0][0].save(tmp_path / "photo.png")
    predictor = mx.Predictor(tmp_path / "run", DEVICE)
    with refused(CheckpointError, "has no preprocessing for photos"):
        predictor.predict(tmp_path / "photo.png")
    transform = loaders("lenet")[1].transform
    predictor = mx.Predictor(tmp_path / "run", DEVICE, transform=transform)
    assert predictor.predict(tmp_path / "photo.png")["class"] in ("cat", "dog")
