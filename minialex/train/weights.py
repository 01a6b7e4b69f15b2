"""`--weights torchvision`: AlexNet as torchvision publishes it, trained on ImageNet.

What a network has learned about photos in general serves for yours, too.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from minialex.data.pets import download
from minialex.data.sources import download_root
from minialex.errors import ConfigError
from minialex.files import locked
from minialex.train.config import flag

# The end of the name is the beginning of the file's SHA-256.
PUBLISHED = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
MOST = 250_000_000  # bytes; it has 244 million
# Their network, and their input: less ImageNet's mean colour, divided by its deviation.
NEEDS = {"variant": "owt", "lrn": False, "width": 1.0, "activation": "relu", "pooling": "max",
         "normalize": "imagenet"}  # fmt: skip


def torchvision_options(given: dict[str, Any]) -> dict[str, Any]:
    """The options `given`, and those that torchvision's weights need.

    Raises ConfigError where they say something else.
    """
    for name, value in NEEDS.items():
        if given.get(name, value) != value:
            text = f"torchvision's weights are of a network with {flag(name)} {value}"
            raise ConfigError(f"{text}; leave {flag(name)} out, or --weights")
    return {**given, **NEEDS}


def torchvision_file(address: str = PUBLISHED, root: Path | None = None,
    report: Callable[[str], None] = print, **options: Any) -> Path:  # fmt: skip
    """The published file: downloaded once, to the folder for downloads, and verified.

    Before that, `report` is called with a line that says where to.  `options` are those of
    `download`, which raises DataError where it fails; OSError where the disk does.
    """
    name = address.rpartition("/")[2]
    path = (download_root() if root is None else root) / name
    if not path.exists():
        report(f"downloading AlexNet's published weights, 244 MB, to {path}")
    digits = path.stem.rpartition("-")[2]
    how = {"progress": tqdm, "else_do": f"put it at {str(path)!r}", **options}
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.parent, wait=True):
        download(address, path, digits, MOST, **how)
    return path
