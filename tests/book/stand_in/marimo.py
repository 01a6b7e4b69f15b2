"""What the notebooks need of marimo, so that their cells run without it, as a browser would run
them: on one core, and where no thread can start.

Cells run in the order of their names, as marimo does; each slider stands where it was first set.
"""

import ast
import inspect
import os
import textwrap
import threading


class _NoThread(threading.Thread):
    def start(self):
        raise RuntimeError("can't start new thread")


threading.Thread = _NoThread  # type: ignore[misc]
os.cpu_count = lambda: 1
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


class App:
    def __init__(self, **_):
        self.cells = []

    def cell(self, function):
        self.cells.append(function)
        return function

    def run(self):
        """Every cell once, after those that make what it takes."""
        known, waiting = {}, [*self.cells]
        while waiting:
            ready = [cell for cell in waiting if names_taken(cell) <= known.keys()]
            assert ready, f"nobody makes {set().union(*map(names_taken, waiting)) - known.keys()}"
            cell = ready[0]
            made, names = cell(*(known[name] for name in ordered(cell))), names_made(cell)
            assert not set(names) & known.keys(), "a name is made twice"
            known |= dict(zip(names, made or (), strict=True))
            waiting.remove(cell)


def ordered(cell):
    return [*inspect.signature(cell).parameters]


def names_taken(cell):
    return {*ordered(cell)}


def names_made(cell):
    """Those of its last line, `return a, b`."""
    source = textwrap.dedent(inspect.getsource(cell))
    value = ast.parse(source).body[0].body[-1].value
    return [name.id for name in value.elts] if isinstance(value, ast.Tuple) else []


class Html:
    def __init__(self, text):
        assert text.count("<") == text.count(">") or "<" in text
        self.text = text


class Slider:
    def __init__(self, start=0, stop=1, *, steps=None, value=None, label="", show_value=False):
        choices = steps or range(start, stop + 1)
        assert value in choices, f"{label}: {value} is not among its values"
        self.value = value


class ui:
    slider = Slider


class output:
    @staticmethod
    def replace(shown):
        assert isinstance(shown, Html)


def md(text):
    return Html(f"<p>{text}</p>")


def _shown(items, **_):
    assert all(isinstance(item, Html | Slider) for item in items)
    return Html("<div></div>")


hstack = vstack = _shown
