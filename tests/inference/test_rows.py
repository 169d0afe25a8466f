"""A scene in rows of windows gives the bytes of the scene as a whole."""

import os
import shutil

import numpy as np
import pytest

from ksdiff.errors import KSDiffError
from ksdiff.inference.batch import SharpenScene
from ksdiff.inference.options import SharpenOptions
from ksdiff.inference.processes import Prepared, Recipe, sharpener_of
from ksdiff.inference.rows import Rows
from ksdiff.io.geotiff import write_scene
from ksdiff.io.jobs import Job
from ksdiff.io.output_options import OutputOptions
from ksdiff.synthetic.scene import procedural_scene


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Three rows of windows of 256, PAN off by two thirds of a pixel, a hole across two rows."""
    folder = tmp_path_factory.mktemp("scene")
    pan, ms, _ = procedural_scene(seed=3, size=832, bands=4, ratio=4)
    pan, ms = pan[..., :576], ms[..., :144].copy()
    pan = (pan.astype(float) * 2 / 3 + np.roll(pan, 2, 2) / 3).round().astype(pan.dtype)
    ms[:, 55:70, 30:90] = 0
    write_scene(folder, "a", pan, ms, nodata=0, pan_nodata=0)
    return Job("a", str(folder / "a_pan.tif"), str(folder / "a_ms.tif"), "wv3")


def by(weights=None, **options):
    options = {"method": "gsa", "tile": 256, **options}
    return SharpenScene(Recipe.of(weights, SharpenOptions(**options)), OutputOptions())


def prepared(rows):
    return rows.prepare([rows.survey(row) for row in range(rows.surveys)])


@pytest.mark.parametrize("options", [{}, {"method": "ksdiff", "tile": 512, "seed": 4}])
def test_rows_in_any_order_give_the_bytes_of_the_whole(job, tmp_path, options):
    sharpen = by(**options)
    sharpen(job, tmp_path / "whole.tif")
    rows = Rows.of(sharpen, job, tmp_path / "rows.tif", least=400_000)
    scene = prepared(rows)
    for row in reversed(range(rows.count)):
        rows.fuse(row, scene)
    assert scene.scene.shift != (0, 0) and not rows.missing()
    rows.write()
    rows.remove()
    assert sorted(os.listdir(tmp_path)) == ["rows.tif", "whole.tif"]
    whole, apart = ((tmp_path / name).read_bytes() for name in ("whole.tif", "rows.tif"))
    assert whole == apart


def test_what_is_done_is_done_once_and_never_for_another_image(job, tmp_path, monkeypatch):
    target = tmp_path / "a.tif"
    rows = Rows.of(by(), job, target, 0)
    rows.fuse(1, prepared(rows))
    assert rows.count == 4 and rows.missing() == [0, 2, 3]
    again = Rows.of(by(), job, target, 0)
    assert again == rows
    monkeypatch.setattr(Prepared, "on", None)
    again.fuse(1, None)  # computes nothing
    assert Rows.of(by(seed=1), job, target, 0).folder != rows.folder
    assert Rows.of(by(method="exp"), job, target, 0).folder != rows.folder
    pan = shutil.copy(job.pan, tmp_path / "pan.tif")
    copied = Job("a", str(pan), job.ms)
    first = Rows.of(by(), copied, target, 0).folder
    os.utime(pan, (1, 1))
    os.utime(rows.folder, (1, 1))
    assert Rows.of(by(), copied, target, 0).folder != first
    assert not rows.folder.exists()  # nobody has asked for them for a day


def test_small_scenes_are_none_and_bad_ones_are_told_before_any_work(job, tmp_path):
    assert Rows.of(by(), job, tmp_path / "a.tif", 832 * 576) is None
    with pytest.raises(KSDiffError, match=r"sensor: 'wv9'"):
        Rows.of(by(sensor="wv9"), job, tmp_path / "a.tif", 0)
    with pytest.raises(KSDiffError, match=r"out .*_pan\.tif: exists already"):
        Rows.of(by(), job, job.pan, 0)
    with pytest.raises(KSDiffError, match="there is no folder"):
        Rows.of(by(), job, tmp_path / "no" / "a.tif", 0)
    assert not os.listdir(tmp_path)


def test_a_damaged_row_is_told_and_leaves_no_image(job, tmp_path):
    rows = Rows.of(by(), job, tmp_path / "a.tif", 0)
    scene = prepared(rows)
    for row in range(rows.count):
        rows.fuse(row, scene)
    path = rows.folder / "2.npy"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(KSDiffError, match=r"2\.npy: a finished row of a\.tif .*run again"):
        rows.write()
    assert not (tmp_path / "a.tif").exists()


def test_weights_that_differ_between_processes_are_told(tmp_path):
    from ksdiff.models.weights import bundled

    path = tmp_path / "w.safetensors"
    path.write_bytes(b"one")
    recipe = Recipe.of(path, SharpenOptions())
    path.write_bytes(b"other")
    with pytest.raises(KSDiffError, match="not the same file for this process"):
        sharpener_of(recipe)
    name = bundled()[0]
    assert Recipe.of(name, SharpenOptions()).weights == name
