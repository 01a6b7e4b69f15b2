"""The experiment on the program's differences: each arm has one; the table by hand."""

import argparse
import dataclasses
import importlib.util
import json
from pathlib import Path

import pytest

import minialex as mx

ROOT = Path(mx.__file__).parents[1]
spec = importlib.util.spec_from_file_location("differences", ROOT / "examples" / "differences.py")
own = importlib.util.module_from_spec(spec)
spec.loader.exec_module(own)

SMALL = argparse.Namespace(seeds=2, images=16, tests=8, epochs=2, width=1 / 16, side=68, jobs=1,
    minutes=10, out="")  # fmt: skip


def features(arm):
    return own.make_network(arm, own.config_of(arm, SMALL, 0.001))


def test_each_arm_changes_one_thing():
    usual = features(own.PROGRAM)
    stds = [layer.params["weight"].std() for _, layer in usual.leaves() if layer.params]
    assert stds == pytest.approx([0.01, 0.04, 0.12, 0.12, 0.12, 0.04, 0.04, 0.04], rel=0.1)
    kinds = [type(layer).__name__ for layer in usual.features.layers]
    changed = {arm: features(arm) for arm in own.ARMS}
    order = [
        type(layer).__name__ for layer in changed["ReLU before LRN in layer 1"].features.layers
    ]
    assert order[:4] == ["Conv2d", "ReLU", "LocalResponseNorm", "MaxPool2d"]
    assert order[4:] == kinds[4:] and sorted(order) == sorted(kinds)
    one = [type(layer).__name__ for layer in changed["no second LRN in layer 2"].features.layers]
    assert [k for k in kinds if k != "LocalResponseNorm2d"] == one
    alphas = [
        m.features[i].alpha for m in (changed["LRN's alpha not divided by 5"],) for i in (1, 6)
    ]
    assert alphas == pytest.approx([1e-4, 1e-4])
    assert changed["LRN across both towers"].features[1].groups == 1
    assert changed["LRN across both towers"].features[4].groups == 2
    tower = changed["one tower"].features
    assert [tower[i].groups for i in (1, 4, 6, 11, 13)] == [1] * 5
    assert set(tower[4].params["bias"].tolist()) == {1.0}
    config = own.config_of("one tower", SMALL, 0.001)
    towers = [own.make_network("one tower", dataclasses.replace(config, seed=seed)).features[4]
              for seed in (0, 0, 1)]  # fmt: skip
    first, again, other = (layer.params["weight"] for layer in towers)
    assert (first == again).all() and (first != other).mean() > 0.9
    wide = changed["3 pixels more, no overhang"]
    shapes = [m.features[0].output_shape(m.input_shape) for m in (usual, wide)]
    assert shapes[0] == shapes[1] and (wide.image_size - 11) % 4 == 0 < (usual.image_size - 11) % 4
    settings = [vars(own.config_of(arm, SMALL, 0.001)) for arm in own.ARMS]
    for arm, found in zip(own.ARMS, settings, strict=True):
        other = {key for key in found if found[key] != settings[0][key]}
        assert other == {*own.ARMS[arm].options} | (
            {"image_size"} if own.ARMS[arm].pixels else set()
        )


def test_the_table_pairs_runs_of_one_seed():
    arm = "one tower"
    errors = {(own.PROGRAM, 0): 0.10, (own.PROGRAM, 1): 0.20, (arm, 0): 0.12, (arm, 1): 0.23}
    results = [
        {"arm": name, "seed": seed, "lr": 0.1, "test_error": error}
        for (name, seed), error in errors.items()
    ]
    results.append({"arm": "no colours", "seed": 0, "lr": 0.1, "failed": "the loss became inf"})
    text = own.table(results, 0.1, SMALL)
    # The mean of 2 and 3 points is 2.5, its standard error 0.5, and t is 12.706.
    assert "| one tower | 17.5 % | +2.5 ± 6.4 | not decided |" in text
    assert f"| {own.PROGRAM} | 15.0 % | | |" in text
    assert text.endswith("seed 0, no colours: the loss became inf\n")


def test_a_run_and_what_is_kept_of_it(tmp_path, monkeypatch, capsys):
    options = argparse.Namespace(**{**vars(SMALL), "out": str(tmp_path)})
    monkeypatch.setattr(own, "limit_threads", lambda n: None)
    found = own.run(own.PROGRAM, 0, 0.001, options)
    assert len(found["errors"]) == 2 and found["test_error"] == found["errors"][-1]
    assert found == own.run(own.PROGRAM, 0, 0.001, options)
    file = tmp_path / "results.json"
    design = {
        name: getattr(options, name) for name in ("images", "tests", "epochs", "width", "side")
    }
    file.write_text(json.dumps({"design": design, "results": [found]}))
    assert own.all_of([(own.PROGRAM, 0, 0.001)], options) == [found]
    options.images = 17
    with pytest.raises(mx.MinialexError, match="of other sizes; choose another --out"):
        own.all_of([(own.PROGRAM, 0, 0.001)], options)
    with pytest.importorskip("matplotlib").rc_context():
        own.picture(
            [{**found, "seed": s, "arm": a} for s in (0, 1) for a in own.ARMS], tmp_path / "a"
        )
