"""The programs beside the chapters of the book, which draw its figures and count its tables."""

import importlib.util
import sys
from pathlib import Path

BOOK = Path(__file__).parents[2] / "docs" / "book"


def load(name):
    """The program docs/book/<name>.py as a module, which may import those beside it."""
    if str(BOOK) not in sys.path:
        sys.path.append(str(BOOK))
    spec = importlib.util.spec_from_file_location(f"book_{name}", BOOK / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
