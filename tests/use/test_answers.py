"""Answers to many images: intervals against published ones, the best five, tables, CSV."""

import csv
import io

import numpy as np
import pytest

from minialex.use.answers import TOP, Answers, Share, as_csv, fit, headlines, tables

# statsmodels 0.15, proportion_confint(right, of, method="wilson")
INTERVALS = {
    (8, 10): (0.490162, 0.943318), (0, 10): (0.0, 0.277533), (10, 10): (0.722467, 1.0),
    (1, 2): (0.094531, 0.905469), (935, 1000): (0.917994, 0.948676),
}  # fmt: skip


@pytest.mark.parametrize("pair", INTERVALS)
def test_intervals_are_those_of_wilson(pair):
    assert Share("", *pair).interval == pytest.approx(INTERVALS[pair], abs=1e-6)


@pytest.mark.parametrize("pair", [(0, 1), (3, 7), (99, 100), (50_000, 50_001)])
def test_at_the_ends_of_an_interval_the_share_is_196_deviations_away(pair):
    seen = pair[0] / pair[1]
    for p in Share("", *pair).interval:
        if 0 < p < 1:
            assert abs(seen - p) == pytest.approx(1.959964 * np.sqrt(p * (1 - p) / pair[1]))
    low, high = Share("", *pair).interval
    assert 0 <= low <= seen <= high <= 1


def test_of_nothing_nothing_is_known():
    assert Share("", 0, 0).interval == (0, 1)
    assert Share("", 0, 0).texts() == ("0", "0", "-", "0.0% to 100.0%")
    assert Share("", 0, 0).numbers()["accuracy"] is None


def answered(classes, count=50):
    rng = np.random.default_rng(classes)
    z = rng.standard_normal((count, classes)).round(1)  # some are equal
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    labels = rng.integers(0, classes, count)
    found = Answers([f"class {i}" for i in range(classes)])
    for i in range(count):
        found.note(f"{i}.jpg", int(labels[i]), log_p[i])
    return found, log_p, labels


@pytest.mark.parametrize("classes", [2, 5, 6, 30])
def test_numbers_are_those_of_a_plain_count(classes):
    found, log_p, labels = answered(classes)
    numbers, best = found.summary(), log_p.argmax(axis=1)
    assert numbers["right"] == (best == labels).sum() and numbers["of"] == 50
    assert numbers["loss"] == pytest.approx(-log_p[np.arange(50), labels].mean())
    assert [one.best for one in found.images] == [f"class {i}" for i in best]
    assert [one.right for one in found.images] == (best == labels).tolist()
    assert [one.p for one in found.images] == pytest.approx(np.exp(log_p.max(axis=1)))
    better = [sorted(range(classes), key=lambda c: -row[c])[:TOP] for row in log_p.tolist()]
    expected = np.mean([label in row for label, row in zip(labels, better, strict=True)])
    assert numbers["top_5"] == (None if classes <= TOP else pytest.approx(expected))
    assert [one["of"] for one in numbers["classes"]] == np.bincount(labels, None, classes).tolist()
    assert np.sum(numbers["confusion"], axis=1).tolist() == [
        one["of"] for one in numbers["classes"]
    ]
    (line,) = headlines({"": found})
    assert ("top 5" in line) == (classes > TOP) and len(line) <= 80
    assert all(len(line) <= 80 for line in headlines({"one crop": found, "ten crops": found}))


def test_a_network_without_scores_is_not_right_by_chance():
    found = Answers([str(i) for i in range(20)])
    for i in range(20):
        found.note("", i, np.full(20, -np.log(20)))
    assert found.top == 5 / 20 and found.accuracy == 1 / 20


def test_the_tables():
    found = Answers(
        ["a class with a long name that goes on"] * 9 + ["一只有很长名字的大猫在这里坐着"]
    )
    found.counts[0, 1], found.counts[3, 3], found.counts[3, 0] = 1, 12345, 2
    lines = tables(found)
    assert len(lines) == 2 + 11 + 2 + 10
    assert lines[2].split() == ["all", "12,345", "12,348", "100.0%", "99.9%", "to", "100.0%"]
    assert lines[3 + 3].split()[-6:-3] == ["12,345", "12,347", "100.0%"]
    assert lines[3].split()[-6:-3] == ["0", "1", "0.0%"] and lines[4].split()[-4] == "-"
    assert lines[-7].split()[-10:] == ["2", "0", "0", "12345", *"000000"]
    assert len(tables(Answers(["x"] * 11))) == 2 + 12
    wide = [sum(2 if "一" <= c <= "鿿" else 1 for c in line) for line in lines]
    assert max(wide) <= 80


def test_a_name_takes_its_columns():
    assert fit("猫狗", 3) == "猫 " and fit("ab", 4, right=True) == "  ab"
    assert fit("e\u0301a", 3) == "e\u0301a " and fit("قِطّ", 3) == "قِطّ "
    assert fit("a\x1b[31m\n", 9) == "a?[31m?  "


def test_csv_holds_what_was_found():
    found = Answers(["猫", "狗"])
    p = np.log([[0.25, 0.75], [2 / 3, 1 / 3], [0.75, 0.25]])
    files = 'a,"b"\n.jpg', "\udcff.jpg", "c"
    for file, label, log_p in zip(files, (0, None, 0), p, strict=True):
        found.note(file, label, log_p)
    assert found.counts.tolist() == [[1, 1], [0, 0]]
    data = as_csv(found.images)
    assert b"\xff.jpg" in data
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8", "surrogateescape"), newline="")))
    assert [row["file"] for row in rows] == list(files)
    assert [(row["class"], row["answer"], row["right"]) for row in rows] == [
        ("猫", "狗", "0"), ("", "猫", ""), ("猫", "猫", "1"),
    ]  # fmt: skip
    assert float(rows[1]["probability"]) == np.exp(p[1, 0])
    assert data.startswith(as_csv([]))
