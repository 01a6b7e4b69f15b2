"""What the prose says: public names have docstrings, what documents name exists, code runs."""

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import bench_loading
import benchmark
import improvements
import minialex
from minialex.layers import Linear
from minialex.models import AlexNet
from minialex.params import count_parameters
from minialex.use.summary import multiply_adds

ROOT = Path(__file__).parents[1]
MODULES = [m.name for m in pkgutil.walk_packages(minialex.__path__, "minialex.")]
FOLDERS = ("docs", "docs/book", "docs/zh")
CHAPTERS = [f"{at}/{path.name}" for at in FOLDERS for path in sorted((ROOT / at).glob("*.md"))]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", *CHAPTERS]

# What can be read by itself, from minialex/.  (models/alexnet.py puts these together.)
PAGES = [
    "layers/layer.py", "layers/linear.py", "layers/activations.py", "layers/conv.py",
    "layers/pool.py", "layers/lrn.py", "layers/dropout.py", "layers/flatten.py",
    "layers/sequential.py", "layers/batch_norm.py", "layers/adaptive_pool.py",
    "layers/leaky_relu.py", "layers/lrn_2d.py", "losses.py", "numerical_gradient.py", "optim.py",
    "schedules.py", "average.py", "philox.py", "xp.py",
]  # fmt: skip

# Of ruff, pip and bench_ranks.
OTHER_OPTIONS = {"--check", "--find-links", "--no-index", "--repeat", "--dense"}


def read(path):
    """The text of a document, by its path from the root."""
    return (ROOT / path).read_text(encoding="utf-8")


PYTHON_BLOCKS = [
    (document, block)
    for document in DOCUMENTS
    if document != "docs/book/exercises.md" and "/zh/" not in document  # see tests/book
    for block in re.findall(r"```python\n(.*?)```", read(document), re.DOTALL)
]


def public_names(module):
    """Functions, classes, their methods and properties that `module` itself defines, by name."""
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
    layers = {f"layers/{path.name}" for path in (ROOT / "minialex" / "layers").glob("*.py")}
    assert layers <= {*PAGES, "layers/__init__.py"}
    assert [page for page in PAGES if f"`{page}`" not in read("README.md")] == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_can_be_read_with_nothing_but_layer_py_open_beside_it(page):
    beside = {"layers.layer", "xp", "errors"}  # of xp and errors, the names say all that one needs
    beside |= {"seeds"}
    if page == "layers/layer.py":
        beside.add("params")
    if page == "layers/dropout.py":
        beside.add("philox")
    if page == "optim.py":
        beside |= {"average", "optimizer", "schedules"}
    if page == "average.py":
        beside |= {"optimizer", "params"}
    text = read(f"minialex/{page}")
    imports = re.findall(r"^\s*(?:from|import) minialex\b\.?([\w.]*)", text, re.MULTILINE)
    assert sorted(set(imports) - beside) == []


def test_the_readme_is_short():
    assert len(read("README.md").split()) <= 900


@pytest.mark.parametrize("document", [*DOCUMENTS, "CHANGELOG.md"])
def test_lines_of_a_document_have_at_most_100_columns(document):
    lines = read(document).splitlines()
    assert [line for line in lines if len(line) > 100 and not line.startswith("|")] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_document_names_only_files_that_exist(document):
    text = re.sub(r"https?://\S+", "", read(document))
    paths = set(re.findall(r"(?<![\w./-])(?:[\w-]+/)+[\w-]+\.(?:py|cu|md)\b", text))
    paths |= set(re.findall(r"`([\w-]+\.(?:py|cu|md))`", text))
    paths |= {f"{m.replace('.', '/')}.py" for m in re.findall(r"-m (minialex\.[\w.]+)", text)}
    found = {path for path in paths for at in (ROOT, ROOT / "minialex") if (at / path).exists()}
    assert sorted(paths - found) == []


@pytest.mark.parametrize("document", [*DOCUMENTS, "CHANGELOG.md"])
def test_every_link_and_picture_of_a_document_exists(document):
    targets = re.findall(r"\]\(([^)\s]+)\)", read(document))
    local = [target.partition("#")[0] for target in targets if not target.startswith("http")]
    assert [t for t in local if not ((ROOT / document).parent / t).exists()] == []


def test_every_picture_is_shown_in_a_document():
    text = "".join(map(read, DOCUMENTS))
    shown = {Path(target).name for target in re.findall(r"!\[[^\]]*\]\((.*?)\)", text)}
    assert {path.name for path in (ROOT / "docs" / "figures").rglob("*.*")} == shown


@pytest.mark.parametrize("document, block", PYTHON_BLOCKS)
def test_the_python_code_of_a_document_runs(document, block, tmp_path):
    for part, start in (("train", 0), ("val", 100)):
        make_photos(tmp_path / "photos" / part, start)
    done = subprocess.run(
        [sys.executable, "-c", block], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "gradcheck(" not in block or "gradcheck passed" in done.stdout
    if "runs/mine" in block:
        assert len((tmp_path / "runs/mine/history.csv").read_text().splitlines()) == 6
        assert len(block.splitlines()) <= 25


def make_photos(folder, start):
    """Drawings as files, 20 of each class."""
    for i, (image, label) in enumerate(minialex.Drawings(40, size=80, start=start)):
        path = folder / ("cat", "dog")[label] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)


def test_the_readme_has_python_code():
    assert "README.md" in {document for document, _ in PYTHON_BLOCKS}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_document_names_only_options_that_exist(document):
    from minialex.commands import evaluate, train

    parsers = [one.parser() for one in (train, evaluate, benchmark, bench_loading, improvements)]
    known = {word.strip("[],") for parser in parsers for word in parser.format_help().split()}
    known |= OTHER_OPTIONS
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", read(document)))
    assert sorted(options - known) == []


def test_the_version_is_the_same_everywhere():
    assert tomllib.loads(read("pyproject.toml"))["project"]["version"] == minialex.__version__
    headings = re.findall(r"^## (.*)$", read("CHANGELOG.md"), re.MULTILINE)
    assert next(one for one in headings if "(unreleased)" not in one) == minialex.__version__


def test_the_share_of_the_dense_layers_is_as_stated_on_the_page_of_linear():
    model, shape = AlexNet(1000, "ungrouped"), (227, 227, 3)
    dense = total = 0
    for _, layer in model.leaves():
        count = multiply_adds(layer, shape)
        dense, total = dense + count * isinstance(layer, Linear), total + count
        shape = layer.output_shape(shape)
    in_dense = count_parameters(model.classifier.params)
    assert round(100 * in_dense / count_parameters(model.params)) == 94
    assert round(100 * dense / total) == 5
