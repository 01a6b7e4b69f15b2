"""`minialex train` in a folder of its own, so small that it takes a second."""

from pathlib import Path

import pytest

from device import DEVICE
from minialex.train.checkpoint import load_checkpoint

TINY = (
    "--width=0.02", "--image-size=67", "--batch-size=4", "--limit=12", "--workers=1",
    "--log-interval=1", "--device", DEVICE,
)  # fmt: skip
NEW = (*TINY, "--data=drawings", "--out=run")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def error_of(capsys):
    return capsys.readouterr().err.removeprefix("error: ").strip()


def tensors(folder, name="last"):
    return load_checkpoint(Path(folder) / f"{name}.safetensors")[0]
