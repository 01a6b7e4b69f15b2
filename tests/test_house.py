"""The house's order: how large files may be, who may import whom, and what a plain layer runs."""

import ast
import io
import sys
import tokenize
from pathlib import Path

import numpy as np
import pytest

import minialex
from minialex.layers import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    LeakyReLU,
    Linear,
    LocalResponseNorm,
    LocalResponseNorm2d,
    MaxPool2d,
    ReLU,
    Sigmoid,
    Tanh,
)
from minialex.params import zeros_like

ROOT = Path(minialex.__file__).parent
FILES = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.py"))}
MOST = {  # lines of code, docstrings, comments and empty lines left out
    "layers/conv.py": 90, "layers/pool.py": 60, "layers/lrn.py": 40, "layers/lrn_2d.py": 40,
    "layers/dropout.py": 25,
    "layers/linear.py": 30, "layers/activations.py": 40, "layers/sequential.py": 35,
    "layers/batch_norm.py": 60, "layers/adaptive_pool.py": 60, "layers/leaky_relu.py": 60,
    "layers/layer.py": 60, "losses.py": 40, "optim.py": 90, "average.py": 60,
    "models/alexnet.py": 80, "models/program_2012.py": 25,
}  # fmt: skip
PAGES = [
    *(name for name in FILES if name.startswith("layers/")),
    "losses.py", "optim.py", "optimizer.py", "average.py", "schedules.py", "philox.py", "seeds.py",
    "params.py", "numerical_gradient.py", "xp.py", "models/alexnet.py", "models/program_2012.py",
]  # fmt: skip
MOST_OF_ALL_PAGES, MOST_OF_ALL = 1200, 8533  # lines of code; the goal for all is 7,000
MOST_OF_A_FUNCTION, MOST_OF_A_HEAD, MOST_OF_A_FILE = 25, 60, 300  # lines


def docstring(node):
    """The node of its docstring, or None."""
    first = node.body[0] if getattr(node, "body", None) else None
    is_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return first if is_text and isinstance(first.value.value, str) else None


def code_lines(text):
    """The numbers of the lines that hold code."""
    layout = {
        tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
        tokenize.ENDMARKER,
    }  # fmt: skip
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in layout:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and docstring(node):
            lines -= set(range(docstring(node).lineno, docstring(node).end_lineno + 1))
    return lines


COUNTS = {name: len(code_lines(path.read_text("utf-8"))) for name, path in FILES.items()}


def test_what_counts_as_code():
    head = '"""Head.\n\n"""\n\n# why\nx = (1,  # one\n     2)\n'
    text = head + '\n\ndef f():\n    """What."""\n    return x\n'
    assert code_lines(text) == {6, 7, 10, 12}


@pytest.mark.parametrize("name", MOST)
def test_a_page_is_short(name):
    assert COUNTS[name] <= MOST[name]


def test_all_pages_and_the_whole_package_are_short():
    assert sum(COUNTS[name] for name in PAGES) <= MOST_OF_ALL_PAGES
    assert sum(COUNTS.values()) <= MOST_OF_ALL


@pytest.mark.parametrize("name", PAGES)
def test_functions_and_heads_of_a_page_fit_on_a_screen(name):
    text = FILES[name].read_text("utf-8")
    code, tree = code_lines(text), ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            own = code & set(range(node.lineno, node.end_lineno + 1))
            assert len(own) <= MOST_OF_A_FUNCTION, node.name
    head = docstring(tree)
    assert head.end_lineno - head.lineno + 1 <= MOST_OF_A_HEAD


@pytest.mark.parametrize("name", FILES)
def test_no_file_is_long(name):
    assert len(FILES[name].read_text("utf-8").splitlines()) <= MOST_OF_A_FILE


# ------------------------------------------------------------------------------ who imports whom


def module_of(name):
    """Such as minialex.layers.conv of layers/conv.py, minialex.layers of layers/__init__.py."""
    parts = Path(name).with_suffix("").parts
    return ".".join(("minialex", *(parts[:-1] if parts[-1] == "__init__" else parts)))


MODULES = {module_of(name): name for name in FILES}


def imports(name):
    """All modules that a file imports anywhere, those of the package by their full names."""
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {module if module in MODULES else node.module for module in inside}
    return found


IMPORTS = {name: imports(name) for name in FILES}
OF_PYTHON = {"math", "itertools", "numpy"}
LAYERS = {module for module in MODULES if module.startswith("minialex.layers")}
PAGE_MODULES = {module_of(name) for name in PAGES}
BASE = {f"minialex.{name}" for name in ("params", "twin", "xp", "errors")}


def of_package(name):
    return {module for module in IMPORTS[name] if module.split(".")[0] == "minialex"}


@pytest.mark.parametrize("name", [name for name in PAGES if name.startswith("layers/")])
def test_a_layer_needs_no_page_but_layer(name):
    allowed = OF_PYTHON | {"minialex.xp", "minialex.layers.layer", "minialex.errors"}
    allowed |= {"minialex.seeds"}  # of initial weights
    if name == "layers/layer.py":
        allowed |= {"minialex.params"}
    if name == "layers/dropout.py":
        allowed |= {"minialex.philox"}
    if name == "layers/__init__.py":
        allowed = LAYERS
    assert allowed >= IMPORTS[name]


@pytest.mark.parametrize("name", [name for name in PAGES if not name.startswith("layers/")])
def test_the_other_pages_need_pages_alone(name):
    assert of_package(name) <= PAGE_MODULES | {"minialex.errors"}
    outside = IMPORTS[name] - of_package(name)
    allowed = OF_PYTHON | {"collections.abc", "cupy", "operator", "types", "typing"}
    if name == "optimizer.py":  # rates by name, for which theta falls into runs
        allowed |= {"copy", "fnmatch"}
    assert outside <= allowed


@pytest.mark.parametrize("room", ["fast", "gpu"])
def test_twins_need_their_pages_and_their_own_room(room):
    for name in (name for name in FILES if name.startswith(f"{room}/")):
        allowed = PAGE_MODULES | BASE | {m for m in MODULES if m.startswith(f"minialex.{room}")}
        if name in ("gpu/pixels.py", "gpu/photos.py"):
            allowed |= {"minialex.data.pixels"}
        assert of_package(name) <= allowed, name


@pytest.mark.parametrize("room, others", [
    ("data", ("train", "use", "fast", "gpu")),
    ("train", ("use",)),
    ("layers", ("fast", "gpu", "train", "use", "data")),
])  # fmt: skip
def test_rooms_do_not_need_those_above_them(room, others):
    for name in (name for name in FILES if name.startswith(f"{room}/")):
        rooms = {module.split(".")[1] for module in of_package(name) if "." in module}
        assert not rooms & set(others), name


def test_nothing_needs_the_commands_but_they_themselves():
    for name in FILES:
        if not name.startswith("commands/") and name != "__main__.py":
            needed = {module for module in of_package(name) if "commands" in module.split(".")}
            assert not needed, name


def test_imports_have_no_circles():
    needs = {module: of_package(name) & MODULES.keys() for module, name in MODULES.items()}
    done, path = set(), []

    def visit(module):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            path.append(module)
            for other in sorted(needs[module]):
                visit(other)
            done.add(path.pop())

    for module in needs:
        visit(module)


# ---------------------------------------------------------------------- what a plain layer runs


def functions_run(call):
    """(file, function) of the package that `call()` enters; comprehensions belong to theirs."""
    entered = set()

    def note(frame, event, _):
        path, name = Path(frame.f_code.co_filename), frame.f_code.co_name
        if event == "call" and path.is_relative_to(ROOT) and not name.startswith("<"):
            entered.add((path.relative_to(ROOT).as_posix(), name))

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return entered


RNG = np.random.default_rng(0)
PLAIN = {
    "conv": Conv2d(4, 6, 3, padding=1, groups=2, rng=RNG), "linear": Linear(4, 3, rng=RNG),
    "pool": MaxPool2d(3, 2, 1), "pool ": AvgPool2d(3, 2, 1), "lrn": LocalResponseNorm(),
    "lrn ": LocalResponseNorm(groups=2), "lrn_2d": LocalResponseNorm2d(),
    "dropout": Dropout(), "flatten": Flatten(), "activations": ReLU(), "activations ": Tanh(),
    "activations  ": Sigmoid(), "leaky_relu": LeakyReLU(), "batch_norm": BatchNorm2d(4),
    "adaptive_pool": AdaptiveAvgPool2d((2, 3)), "adaptive_pool ": GlobalAvgPool2d(),
    "conv ": Conv2d(4, 6, (3, 1), (1, 2), (0, 1), bias=False, rng=RNG),
    "conv  ": Conv2d(4, 6, 3, 2, ceil_mode=True, rng=RNG),
    "pool  ": MaxPool2d((3, 2), (2, 1), (1, 0), ceil_mode=True),
}  # fmt: skip


@pytest.mark.parametrize("page", PLAIN)
def test_a_plain_layer_runs_its_page_and_what_all_layers_share(page):
    layer = PLAIN[page]
    x = RNG.standard_normal((2, 4) if page == "linear" else (2, 5, 5, 4), dtype=np.float32)

    def forward_and_backward():
        y, cache = layer.forward(x)
        layer.backward(y, cache, zeros)

    zeros = zeros_like(layer.params)
    entered = functions_run(forward_and_backward)
    page = page.strip()
    allowed = {f"layers/{page}.py", "layers/layer.py", "xp.py"}
    if page == "dropout":
        allowed |= {"philox.py"}
    assert {f"layers/{page}.py"} < {file for file, _ in entered} <= allowed
    if page == "conv":
        assert len({name for _, name in entered}) <= 9
