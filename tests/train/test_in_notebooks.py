"""Notebooks: curves and a bar that change where they stand, results as tables, and threads."""

import html.parser
import json
import re
import signal
import subprocess
import sys
import threading
import types

import numpy as np
import pytest

import minialex as mx
from device import DEVICE
from minialex.data import Drawings
from minialex.page import Html
from minialex.train.curves import History, Notebook, choose_screen
from minialex.train.loop import Training
from minialex.train.screen import Screen
from minialex.transforms import CenterCrop, Compose, Resize, ToArray
from minialex.use.explain import grad_cam, saliency

MIDDLE = Compose([Resize(18), CenterCrop(16), ToArray()])
ROW = {
    "epoch": 1, "train_loss": 0.69312, "train_acc": 0.512, "val_loss": 0.6911, "val_acc": 0.531,
    "images_per_s": 1234.5,
}  # fmt: skip


@pytest.fixture
def cell(monkeypatch):
    """A kernel of Jupyter without IPython: a list of what each display of the cell has shown."""
    displays = []

    class Handle:
        def __init__(self, page):
            self.shown = [page]
            displays.append(self.shown)

        def update(self, page):
            self.shown.append(page)

    def display(page, *, display_id):
        assert display_id is True
        return Handle(page)

    def as_html(text):
        assert type(text) in (str, Html)
        return str(text)

    page = types.SimpleNamespace(display=display, HTML=as_html)
    shell = types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", page)
    return displays


def network():
    return mx.Sequential(
        mx.Conv2d(3, 4, 5), mx.ReLU(), mx.MaxPool2d(2), mx.Flatten(), mx.Linear(144, 2)
    )


def loaders(workers=2):
    drawings = list(Drawings(24, size=20))
    train = mx.DataLoader(drawings[:16], 4, MIDDLE, shuffle=True, workers=workers)
    return train, mx.DataLoader(drawings[16:], 4, MIDDLE, workers=workers)


def fit(**options):
    train, val = loaders()
    model = network()
    return mx.fit(model, train, mx.Adam(model), val=val, **{"device": DEVICE, **options})


class Balanced(html.parser.HTMLParser):
    """Raises AssertionError unless each element ends where it should."""

    def __init__(self, text):
        super().__init__()
        self.open = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.open += [tag] * (tag != "img")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


# ---------------------------------------------------------------------------- the live display


def test_only_a_kernel_has_a_notebook(cell, monkeypatch):
    assert type(choose_screen(20)) is Notebook
    terminal = types.SimpleNamespace(get_ipython=lambda: types.SimpleNamespace())
    for other in (terminal, types.SimpleNamespace(get_ipython=lambda: None), None):
        monkeypatch.setitem(sys.modules, "IPython", other)
        assert type(choose_screen(20)) is Screen


def test_fit_shows_a_bar_and_curves_that_grow(cell, capsys):
    history = fit(epochs=3)
    curves, bars = cell
    assert len(cell) == 2 and len(curves) == 1 + 3  # none at first, then one an epoch
    lines = [re.findall('d="([^"]*)" class="training run0"', page)[0] for page in curves[1:]]
    assert [len(line.split("L")) for line in lines] == [1, 2, 3]
    shown = [re.sub("<[^>]*>", "", page) for page in bars]
    assert {f"epoch {n}/3" for n in (1, 2, 3)} <= {text[:9] for text in shown}
    assert any(re.match(r"epoch 1/3  loss \d.*%\|.*\|.*img", text) for text in shown)
    assert any(text.startswith("validation") for text in shown) and shown[-1] == ""
    assert max(map(len, shown)) < 80
    for page in curves[1:] + bars:
        Balanced(page)
    out, err = capsys.readouterr()
    lines = [line for line in out.splitlines() if line.startswith("epoch")]
    assert len(lines) == len(history) == 3 and "img/s" in lines[0] and not err


def test_a_notebook_and_a_terminal_train_to_the_same_bits(cell, monkeypatch):
    mx.seed(7)
    one = fit(epochs=2)
    monkeypatch.delitem(sys.modules, "IPython")
    mx.seed(7)
    other = fit(epochs=2)
    for row in one + other:
        row.pop("images_per_s")
    assert one == other


def test_an_interrupt_is_a_line_and_the_cell_goes_on(cell, tmp_path):
    def start():
        train, val = loaders()
        model = network()
        how = {"val": val, "run": tmp_path / "run", "epochs": 3, "device": DEVICE}
        return Training(model, train, mx.Adam(model), **how)

    run = start()
    real, steps = run.step, []

    def step(x, labels):
        real(x, labels)
        steps.append(len(labels))
        if len(steps) == 6:  # of 4 an epoch
            signal.raise_signal(signal.SIGINT)

    run.step = step
    with pytest.raises(KeyboardInterrupt) as caught:
        run.train()
    (line,) = caught.value._render_traceback_()  # which IPython shows in place of the frames
    want = f"stopped after step 6; fit, called again, goes on from {str(tmp_path / 'run')!r}"
    assert line == f"KeyboardInterrupt: {want}" and str(caught.value) == want
    again = start()
    assert again.steps_done() == 6 and len(again.train()) == 3


def test_without_a_folder_an_interrupt_keeps_the_model():
    train, _ = loaders()
    model = network()
    run = Training(model, train, mx.Adam(model), 2, device=DEVICE)
    run.stop.asked = True
    with pytest.raises(KeyboardInterrupt, match=r"step 1; .* goes on from the model as it is"):
        run.train()


# ---------------------------------------------------------------------------- what results show


def test_a_history_is_a_list_that_shows_itself():
    history = History([ROW, {**ROW, "epoch": 2}])
    assert history == [ROW, {**ROW, "epoch": 2}] and history[-1]["epoch"] == 2
    assert json.loads(json.dumps(history)) == history and repr(history) == repr([*history])
    text = history._repr_html_()
    Balanced(text)
    assert type(text) is str  # marimo sends no other
    cells = re.findall("<t[hd][^>]*>([^<]*)</t[hd]>", text)
    assert cells[:6] == [*ROW]
    assert cells[6:12] == ["1", "0.6931", "51.2%", "0.6911", "53.1%", "1,234"]
    lines = re.findall('class="(?:training|validation) run0"', text)
    assert text.count("<svg") == 2 and len(lines) == 2 * 4  # beside each its key


@pytest.mark.parametrize("rows", [0, 1, 20, 21, 1000])
def test_a_long_history_shows_its_end(rows):
    history = History({**ROW, "epoch": i + 1} for i in range(rows))
    text = history._repr_html_()
    Balanced(text)
    numbers = re.findall('<th scope="row">([^<]*)</th>', text)
    assert numbers == [str(row["epoch"]) for row in history[-20:]]


def test_a_history_without_validation_shows_itself():
    alone = {name: value for name, value in ROW.items() if not name.startswith("val")}
    text = History([alone])._repr_html_()
    Balanced(text)
    assert "val_loss" not in text and "train_loss" in text


def test_styles_hold_inside_the_element_alone():
    style = re.search("<style>(.*)</style>", History([ROW])._repr_html_(), re.S)[1]
    style = re.sub(r"/\*.*?\*/", "", style, flags=re.S).strip()
    assert style.startswith(".minialex {") and ":root" not in style
    depth = 0
    for i, letter in enumerate(style):
        depth += (letter == "{") - (letter == "}")
        assert depth > 0 or i < 11 or i == len(style) - 1  # one rule, and all others inside it
    assert depth == 0


def test_a_summary_shows_itself_as_it_is():
    table = mx.summary(network(), (16, 16, 3))
    assert repr(table) == str(table) == table and table.startswith("name")


def test_an_answer_shows_the_photo_and_its_classes(tmp_path):
    model = network()
    names = ["<b>cat</b>", "dog"]
    mx.save(tmp_path / "net.safetensors", model, classes=names, transform=MIDDLE)
    photo = tmp_path / "a & b.png"
    Drawings(1, size=20)[0][0].save(photo)
    answer = mx.Predictor(tmp_path / "net.safetensors", DEVICE).predict(photo)
    assert json.loads(json.dumps(answer)) == answer
    text = answer._repr_html_()
    Balanced(text)
    assert "data:image/jpeg" in text and "a &amp; b.png" in text and str(tmp_path) not in text
    assert "<bdi>&lt;b&gt;cat&lt;/b&gt;</bdi>" in text
    best = re.findall(r"<td>([\d.]+)%</td>", text)
    assert float(best[0]) >= float(best[1])
    photo.unlink()
    assert "<img" not in answer._repr_html_() and "dog" in answer._repr_html_()


# ---------------------------------------------------------------------------------- threads


def in_a_thread(work):
    """What `work()` returns in a thread that is not the main one."""
    found = []

    def run():
        try:
            found.append(work())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


def test_all_works_in_a_thread_and_signals_stay_as_they_are(cell, tmp_path):
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]

    def work():
        train, val = loaders()
        model = network()
        history = mx.fit(
            model, train, mx.Adam(model), val=val, epochs=2, run=tmp_path / "run", device=DEVICE
        )
        Drawings(1, size=20)[0][0].save(tmp_path / "one.png")
        predictor = mx.Predictor(tmp_path / "run", DEVICE)
        x = predictor.batch([predictor.open(tmp_path / "one.png")])
        return (
            len(history), mx.evaluate(model, val), predictor.predict(tmp_path / "one.png"),
            saliency(predictor.model, x, np.array([0])).shape,
            grad_cam(predictor.model, x, np.array([0])).shape,
            [len(labels) for _, labels in train],
        )  # fmt: skip

    epochs, (_, accuracy), answer, seen, where, sizes = in_a_thread(work)
    assert epochs == 2 and 0 <= accuracy <= 1 and set(answer["probabilities"]) == {"0", "1"}
    assert len(seen) == len(where) == 3 and sizes == [4] * 4
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_a_run_stops_in_a_thread_where_it_is_asked():
    def work():
        train, _ = loaders()
        model = network()
        run = Training(model, train, mx.Adam(model), 2, device=DEVICE)
        run.stop.asked = True
        with pytest.raises(KeyboardInterrupt):
            run.train()
        return run.steps_done()

    assert in_a_thread(work) == 1


def test_it_can_be_imported_in_a_thread():
    code = "from threading import Thread; t = Thread(target=__import__, args=['minialex'])"
    code += "; t.start(); t.join()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == ""
