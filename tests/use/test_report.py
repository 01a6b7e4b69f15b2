"""The report: what it holds, that no name gets out of its text, that it needs no other file."""

import json
import re

import numpy as np
import pytest
from PIL import Image

import minialex.page
from bad_input import refused, snapshot
from device import DEVICE
from minialex.data import Compose, ImageFolder, ToArray
from minialex.errors import ConfigError
from minialex.layers import Flatten, Linear, Sequential
from minialex.page import Html, element, embedded, table, write_page
from minialex.train.run import RunFolder
from minialex.use.answers import Answers
from minialex.use.predict import Predictor
from minialex.use.report import confusions
from trained import Page, command, lenet, make_photos, make_run, perceptron, sees_red

HOSTILE = ("<script>alert(1)<", "a\"b' onload='x", "&lt;猫&amp;", "قطة\u202e صغيرة")
SECTIONS = ["Training", "Accuracy by class", "What is taken for what", "The surest mistakes",
    "The least certain", "Settings"]  # fmt: skip
ROWS = [
    {"epoch": e, "train_loss": 2 / e, "train_acc": 1 - 0.5 / e, "val_loss": 2.5 / e,
     "val_acc": 1 - 0.6 / e, "images_per_s": 9.0}
    for e in range(1, 6)
]  # fmt: skip


def make_all(folder, names, model, **run):
    """A run with photos of these classes, and a history."""
    rng = np.random.default_rng(0)
    for name in names:
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(3):
            pixels = rng.integers(0, 60, (24, 30, 3)) + rng.integers(0, 196, 3)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "photos" / name / f"{i}.png")
    make_run(folder / "run", model, classes=sorted(names), **run)
    RunFolder(folder / "run").write_history(ROWS)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return make_all(folder, HOSTILE, lenet(4), settings={"fit": {"lr": "<b>", "epochs": 5}})


def page_of(folder, *more, data=None):
    out = folder / "report.html"
    out.unlink(missing_ok=True)
    assert (
        command("evaluate", folder / "run", data or folder / "photos", "--report", out, *more) == 0
    )
    return Page(out)


def test_the_report_has_all_sections_in_the_names_as_they_are(folder, capsys):
    page = page_of(folder, "--csv", folder / "answers.csv")
    assert page.headings == SECTIONS
    assert page.all_texts("h1") == page.all_texts("title") == [f"Report of {folder / 'run'}"]
    assert {*HOSTILE, "all"} < set(page.all_texts("bdi"))
    names = {name for name, _ in page.opened}
    assert not names & {"script", "link", "iframe", "object", "base", "form", "a"}
    assert not any(key.startswith("on") for _, attributes in page.opened for key in attributes)
    assert {"<b>", "<"} & set("".join(page.all_texts("td"))) == {"<"}
    assert any('"lr": "<b>"' in text for text in page.all_texts("td"))
    assert page.texts[page.all("p")[1]] in capsys.readouterr().out


def test_nothing_comes_from_elsewhere(folder):
    page = page_of(folder)
    for _, attributes in page.opened:
        for key, value in attributes.items():
            assert key not in ("href", "srcset", "data", "action") and "url(" not in str(value)
            assert key != "src" or value.startswith("data:image/jpeg;base64,")
    (style,) = page.all_texts("style")
    assert "url(" not in style and "@import" not in style and "http" not in style
    rules = [one.get("content") for _, one in page.opened if "http-equiv" in one]
    assert rules == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_pictures_captions_and_tables_say_what_they_show(folder):
    page = page_of(folder)
    assert all(page.opened[i][1]["alt"] for i in page.all("img"))
    assert all(page.opened[i][1]["scope"] in ("row", "col") for i in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table")) == 4
    assert (
        all(page.opened[i][1]["aria-label"] for i in page.all("svg")) and len(page.all("svg")) == 2
    )
    figures = len(page.all("figcaption"))
    assert len(page.images) == 2 * figures and figures <= 16  # each beside Grad-CAM
    assert {one.shape for one in page.images} == {(16, 16, 3)}


def test_the_same_bytes_twice_and_no_file_is_lost(folder):
    page_of(folder)
    first = snapshot(folder)
    assert (
        command("evaluate", folder / "run", folder / "photos", "--report", folder / "report.html")
        == 0
    )
    assert snapshot(folder) == first
    weights = folder / "run" / "best.safetensors"
    for option in ("--report", "--csv"):
        for path in (weights, folder / "run" / "history.csv", folder / "run"):
            with refused(ConfigError, "is something else already"):
                command("evaluate", folder / "run", folder / "photos", option, path)
    with refused(ConfigError, "is something else already"):
        command("predict", folder / "run", folder / "photos", "--csv", weights)
    with refused(ConfigError, "there is no folder"):
        command("evaluate", folder / "run", folder / "photos", "--csv", folder / "no" / "a.csv")
    assert snapshot(folder) == first


def test_the_mistakes_are_the_surest_and_the_doubts_the_least_certain(folder):
    page = page_of(folder, "--csv", folder / "answers.csv")
    lines = [
        line.rsplit(",", 2)[1:] for line in (folder / "answers.csv").read_text().splitlines()[1:]
    ]
    answers = [(float(p), right == "1") for p, right in lines]
    shown = [
        float(text.strip(" ,%whicsrgtbu")) / 100 for text in page.all_texts("span") if "%," in text
    ]
    wrong = sorted((p for p, right in answers if not right), reverse=True)[:8]
    unsure = sorted(p for p, _ in answers)[:8]
    assert shown == pytest.approx([*wrong, *unsure], abs=6e-4)


def test_evaluate_and_predict_agree_to_the_bit(folder, capsys):
    files = [folder / f"{name}.csv" for name in ("evaluate", "predict")]
    for options in ((), ("--ten-crop",)):
        for file in files:
            command(file.stem, folder / "run", folder / "photos", "--csv", file, *options)
        one, two = (file.read_text() for file in files)
        assert one == two and len(one.splitlines()) == 13
        out = capsys.readouterr().out
        command("evaluate", folder / "run", folder / "photos", "--json", *options)
        numbers = json.loads(capsys.readouterr().out)["ten_crops" if options else "one_crop"]
        assert f"({numbers['right']} of 12)" in out
        command("predict", folder / "run", folder / "photos", "--json", *options)
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert sum(one["class"] == one["truth"] for one in found) == numbers["right"]
        losses = [-np.log(one["probabilities"][one["truth"]]) for one in found]
        assert np.mean(losses) == pytest.approx(numbers["loss"])


def test_ten_crops_are_beside_the_one(folder):
    page = page_of(folder, "--ten-crop")
    lines = [text for text in page.all_texts("p") if text.startswith(("one crop:", "ten crops:"))]
    assert len(lines) == 2 and page.headings == SECTIONS


def test_a_network_without_convolutions_and_a_checkpoint_without_a_run(folder, tmp_path):
    make_run(tmp_path / "run", perceptron(4), classes=sorted(HOSTILE))
    page = page_of(tmp_path, data=folder / "photos")
    texts = " ".join(page.all_texts("p"))
    assert "Without Grad-CAM: Grad-CAM needs a convolution" in texts and "No curves: " in texts
    assert "there is no config.json" in page.all_texts("td") and page.headings == SECTIONS
    assert len(page.images) == len(page.all("figcaption"))


def test_drawings_and_a_network_that_always_says_cat(tmp_path):
    model = lenet()
    model[4].params["weight"][...] = 0
    model[4].params["bias"][...] = 1, 0
    settings = {"data": "drawings", "seed": 0, "limit": 10}
    make_run(tmp_path / "run", model, ("cat", "dog"), settings=settings)
    page = page_of(tmp_path, data="drawings")
    assert len(page.images) == 2 * (5 + 8)
    assert "5 of 5" in page.all_texts("td")


def test_without_mistakes_there_are_none(tmp_path):
    make_photos(tmp_path / "photos")
    make_run(tmp_path / "run", sees_red())
    page = page_of(tmp_path)
    assert "There are none." in page.all_texts("p") and len(page.images) == 2 * 6


def test_photos_that_the_preprocessing_does_not_crop(tmp_path):
    make_photos(tmp_path / "photos")
    model = Sequential(Flatten(), Linear(24 * 30 * 3, 2))
    make_run(tmp_path / "run", model, transform=Compose((ToArray(),)))
    assert {one.shape for one in page_of(tmp_path).images} == {(24, 30, 3)}
    odd = tmp_path / "photos" / "blue" / "1.png"
    Image.open(odd).resize((9, 9)).save(odd)
    predictor = Predictor(tmp_path / "run", DEVICE)
    found = list(predictor.answers(ImageFolder(tmp_path / "photos")))
    assert [isinstance(one, Exception) for one in found] == [i == 1 for i in range(6)]
    assert [one[0] for one in found if isinstance(one, list)] == [0, 0, 1, 1, 1]


def test_large_photos_become_small_pictures():
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (1500, 3000, 3), dtype=np.uint8))
    assert len(embedded(noise, "", "JPEG")) < 400_000 and noise.size == (3000, 1500)


def test_many_classes_have_a_table_of_mistakes_only():
    for classes in (100, 101):
        found = Answers([f"class {i}" for i in range(classes)])
        found.counts[:] = np.eye(classes, dtype=int)
        found.counts[7, 9], found.counts[8, 3], found.counts[8, 0] = 12, 5, 0
        often, last = confusions(found)
        assert re.findall("<bdi>(.*?)</bdi>", often) == ["class 7", "class 9", "class 8", "class 3"]
        assert ("left out" in last) == (classes == 101) and len(last) < 300_000
        assert "12 of 13" in often


def test_a_class_without_images_stays_in_the_tables():
    found = Answers(["a", "b"])
    found.note("", 1, np.log([0.25, 0.75]))
    often, matrix = confusions(found)
    assert matrix.count("<td></td>") == 3 and "tbody></tbody" in often


def test_text_is_escaped_and_html_is_not():
    assert (
        element("b", "<i>", Html("<u>"), 5, title='"<') == '<b title="&quot;&lt;">&lt;i&gt;<u>5</b>'
    )
    assert "<td>&lt;i&gt;</td>" in table("&", ("<",), [("a", "<i>")], "")


def test_names_that_are_no_text_are_written(tmp_path):
    write_page(tmp_path / "page.html", "\udcff", [element("p", "\udcff 猫")])
    assert "\\udcff 猫" in (tmp_path / "page.html").read_text("utf-8")
    assert minialex.page.HEAD.splitlines()[0] in (tmp_path / "page.html").read_bytes()
