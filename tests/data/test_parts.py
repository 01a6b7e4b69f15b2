"""Which part a photo belongs to: its name and the seed decide, and no other photo."""

import unicodedata

import numpy as np
import pytest
from PIL import Image

from minialex.data import open_source, split
from minialex.data.folder import Photos, at_most, share


def photos(*names):
    """Photos that nobody opens."""
    classes = sorted({name.split("/")[0] for name in names})
    samples = [(f"/nowhere/{name}", classes.index(name.split("/")[0])) for name in names]
    return Photos(classes, samples, names)


MANY = [f"{kind}/{k}.jpg" for kind in ("cat", "dog") for k in range(500)]


def test_shares_are_the_same_on_every_machine():
    found = [share(0, "val", "cat/1.jpg"), share(7, "test", "cat/\xe9.jpg"), share(0, "val", "")]
    assert [f"{value:.6f}" for value in found] == ["0.043505", "0.624766", "0.216583"]
    values = [share(3, "val", name) for name in MANY]
    assert min(values) >= 0 and max(values) < 1 and abs(np.mean(values) - 0.5) < 0.03
    others = [share(3, "test", name) for name in MANY], [share(4, "val", name) for name in MANY]
    assert all(abs(np.corrcoef(values, other)[0, 1]) < 0.1 for other in others)
    share(0, "val", "cat/\udcff.jpg")  # a name that is no text


@pytest.mark.parametrize("seed", [0, 5])
def test_other_photos_move_none(seed):
    rest, part = split(photos(*MANY), 0.1, seed)
    assert 70 < len(part) < 130 and not set(rest.names) & set(part.names)
    fewer = [name for k, name in enumerate(MANY) if k % 3]
    more = [*fewer, *(f"cat/new{k}.jpg" for k in range(50))]
    for names in (fewer, more, sorted(more, key=lambda name: hash(name) % 97)):
        others = split(photos(*names), 0.1, seed)[1].names
        assert set(others) & set(MANY) == set(part.names) & set(names)


def test_a_limit_takes_the_same_photos_in_proportion():
    few, more = (at_most(n, photos(*MANY), seed=2) for n in (60, 80))
    assert len(few) == 60 and np.bincount(few.labels).tolist() == [30, 30]
    assert set(few.names) < set(more.names)
    for part in (split(few, 0.1, 2)[1], split(few, 0.1, 2)[1]):
        assert set(part.names) <= set(split(photos(*MANY), 0.1, 2)[1].names)
    unequal = photos(*(f"a/{k}" for k in range(90)), *(f"b/{k}" for k in range(10)))
    assert np.bincount(at_most(20, unequal, 0).labels).tolist() == [18, 2]


def test_names_count_in_one_form_and_relative_to_the_folder(tmp_path):
    for root, form in ((tmp_path / "one", "NFC"), (tmp_path / "two" / "deep", "NFD")):
        for name in ("café", "thé"):
            folder = root / unicodedata.normalize(form, name)
            folder.mkdir(parents=True)
            for k in range(20):
                file = unicodedata.normalize(form, f"é{k}.png")
                Image.new("RGB", (2, 2), (k, 0, 0)).save(folder / file)
    one, two = (open_source(tmp_path / name, seed=1) for name in ("one", "two"))
    assert one.classes == two.classes == ["café", "thé"]
    for part in ("train", "val", "test"):
        assert getattr(one, part).names == getattr(two, part).names
