"""The benchmark of photos in the GPU's memory: it runs, and counts the bytes that differ."""

import numpy as np

import bench_photos
from minialex.gpu.photos import GpuPhotos

SMALL = ["--photos", "12", "--batch-size", "3", "--width", "262", "--height", "259"]


def test_it_prints_a_line_per_recipe(capsys):
    assert bench_photos.main(SMALL) == 0
    _, _, head, *lines = capsys.readouterr().out.splitlines()
    assert "different bytes" in head
    assert [line.split()[:2] for line in lines] == [
        [r, "0"] for r in ("drawings", "modern", "paper")
    ]


def test_it_sees_a_byte_that_differs(capsys, monkeypatch):
    real = GpuPhotos.cut

    def wrong(*arguments):
        images = real(*arguments)
        images[0, 0, 0, 0] ^= np.uint8(1)
        return images

    monkeypatch.setattr(GpuPhotos, "cut", wrong)
    assert bench_photos.main([*SMALL, "--recipe", "paper"]) == 1
    assert capsys.readouterr().out.splitlines()[-1].split()[:2] == ["paper", "4"]
