"""What the prose says: every public name has a docstring, the README's code runs, stated numbers are true."""

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bench_loading
import benchmark
import improvements
import minialex
from minialex.layers import Linear
from minialex.layers.layer import count_parameters
from minialex.models import AlexNet

ROOT = Path(__file__).parents[1]
MODULES = [m.name for m in pkgutil.walk_packages(minialex.__path__, "minialex.")]


def public_names(module):
    """Functions, classes and their methods and properties that `module` itself defines, with dotted names."""
    for name, thing in vars(module).items():
        if name.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(thing) or inspect.isclass(thing):
            yield f"{module.__name__}.{name}", thing
        if inspect.isclass(thing):
            for key, member in vars(thing).items():
                if not key.startswith("_") and (
                    inspect.isfunction(member) or isinstance(member, property | classmethod)
                ):
                    yield f"{module.__name__}.{name}.{key}", getattr(thing, key)


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_has_a_docstring(name):
    module = importlib.import_module(name)
    assert module.__doc__
    missing = [dotted for dotted, thing in public_names(module) if not inspect.getdoc(thing)]
    assert not missing


def test_every_page_of_the_book_is_in_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "minialex" / "layers").glob("*.py"):
        assert page.name == "__init__.py" or f"layers/{page.name}" in text, page.name
    for path in re.findall(r"`((?:\w+/)*\w+\.py)`", text):
        assert (ROOT / "minialex" / path).exists() or (ROOT / path).exists(), path


def test_the_python_code_of_the_readme_runs():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert "gradcheck passed" in done.stdout


def test_the_readme_names_only_options_that_exist():
    from minialex.cli import training_parser

    parsers = (training_parser(), benchmark.parser(), bench_loading.parser(), improvements.parser())
    known = set("".join(parser.format_help() for parser in parsers).split()) | {"--ten-crop"}
    known = {word.strip("[],") for word in known}
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert options <= known


def test_the_share_of_the_dense_layers_is_as_stated_on_the_page_of_linear():
    model, shape = AlexNet(1000, "ungrouped"), (227, 227, 3)
    dense = total = 0
    for _, layer in model.leaves():
        count = layer.multiply_adds(shape)
        dense, total = dense + count * isinstance(layer, Linear), total + count
        shape = layer.output_shape(shape)
    assert round(100 * count_parameters(model.classifier.params) / count_parameters(model.params)) == 94
    assert round(100 * dense / total) == 5
