import json

import numpy as np
import pytest
import torch

from ksdiff import KSDiffError
from ksdiff.baselines import METHODS, Pair
from ksdiff.data.outputs import write_scene
from ksdiff.data.procedural import procedural_scene
from ksdiff.evaluation import DEFAULT_METHODS, evaluate
from ksdiff.metrics import full_indexes, reduced_indexes
from tests.inference.conftest import HighPassModulation


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Scene ``a`` of GF-2 with truth; scene ``b``, without, of no known sensor."""
    folder = tmp_path_factory.mktemp("scenes")
    write_scene(folder, "a", *procedural_scene(1, 128, 4, sensor="gf2"))
    write_scene(folder, "b", *procedural_scene(2, 128, 4)[:2])
    (folder / "scenes.json").write_text(json.dumps([{"name": "a", "sensor": "gf2"}]))
    return folder


@pytest.fixture(scope="module")
def result(folder):
    return evaluate(folder, ["exp", "mtf-glp-hpm", "ksdiff"], weights=HighPassModulation(4))


def tensors(seed, **choice):
    return [
        torch.from_numpy(p.astype("float32"))[None] for p in procedural_scene(seed, 128, **choice)
    ]


def test_scenes_with_truth_get_the_indexes_of_reduced_resolution(result):
    pan, ms, gt = tensors(1, sensor="gf2")
    given = Pair.of(pan, ms, (0.3,) * 4, 4, (2.0, 2.0))
    expected = reduced_indexes(METHODS["mtf-glp-hpm"](given), gt, 4, 1023.0)
    row = next(row for row in result.rows if (row.scene, row.method) == ("a", "mtf-glp-hpm"))
    assert row.resolution == "reduced"
    assert row.indexes == pytest.approx(expected)


def test_scenes_without_truth_get_the_indexes_of_full_resolution(result):
    pan, ms, _ = tensors(2)
    given = Pair.of(pan, ms, (0.3,) * 4, 4, (2.0, 2.0), "reflect")
    expected = full_indexes(given.lms, pan, ms, given.lms, (0.3,) * 4, 4, (2.0, 2.0))
    row = next(row for row in result.rows if (row.scene, row.method) == ("b", "exp"))
    assert row.resolution == "full"
    assert row.indexes == pytest.approx(expected)


def test_ksdiff_that_is_hpm_scores_as_hpm(result):
    for scene in ("a", "b"):
        hpm, ours = (
            next(r.indexes for r in result.rows if (r.scene, r.method) == (scene, method))
            for method in ("mtf-glp-hpm", "ksdiff")
        )
        for name, value in hpm.items():
            assert ours[name] == pytest.approx(value, rel=0.1, abs=0.02), name


def test_sensors_and_ranges_are_told(result):
    a, b = result.scenes
    assert (a.sensor, a.data_range, a.resolution) == ("gf2", 1023.0, "reduced")
    assert (b.sensor, b.data_range, b.resolution) == ("unknown", None, "full")


def test_the_table_marks_the_best_of_every_index(result):
    table = result.markdown()
    assert "a: gf2, 4 bands, ratio 4, 128 x 128, reduced resolution" in table
    first = [row for row in result.rows if row.scene == "a"]
    for name, choose in (("SAM", min), ("ERGAS", min), ("Q2n", max), ("PSNR", max)):
        assert f"**{choose(row.indexes[name] for row in first):.4f}**" in table


def test_means_are_taken_over_the_scenes_of_one_resolution(folder, tmp_path):
    for name, seed in (("a", 1), ("c", 3)):
        write_scene(tmp_path, name, *procedural_scene(seed, 128, 4))
    write_scene(tmp_path, "d", *procedural_scene(4, 128, 4)[:2])
    result = evaluate(tmp_path, ["exp"])
    (mean,) = result.means("reduced")
    own = [row.indexes["SAM"] for row in result.rows if row.resolution == "reduced"]
    assert len(own) == 2 and mean.indexes["SAM"] == pytest.approx(np.mean(own))
    assert "Mean over 2 scenes, reduced resolution" in result.markdown()


def test_json_holds_everything_and_is_strict(result, tmp_path):
    result.write_json(tmp_path / "scores.json")

    def refuse(value):
        raise ValueError(value)

    content = json.loads((tmp_path / "scores.json").read_text(), parse_constant=refuse)
    assert len(content["rows"]) == 6
    assert content["header"]["border"] == 21
    assert content["header"]["date"].endswith("+00:00")


def test_the_border_changes_what_is_judged(folder, result):
    wide = evaluate(folder, ["exp"], border=0)
    assert wide.rows[0].indexes["SAM"] != result.rows[0].indexes["SAM"]
    with pytest.raises(KSDiffError, match=r"border of 60.*--border"):
        evaluate(folder, ["exp"], border=60)


def test_a_sensor_can_be_named_for_all(folder):
    assert [scene.sensor for scene in evaluate(folder, ["exp"], sensor="qb").scenes] == ["qb", "qb"]


def test_scenes_without_weights_are_left_out_with_a_note(tmp_path):
    write_scene(tmp_path, "four", *procedural_scene(1, 128, 4))
    write_scene(tmp_path, "six", *procedural_scene(1, 128, 6))
    result = evaluate(tmp_path, ["exp", "ksdiff"], weights=HighPassModulation(4))
    assert [(row.scene, row.method) for row in result.rows] == [
        ("four", "exp"),
        ("four", "ksdiff"),
        ("six", "exp"),
    ]
    assert "Note: ksdiff left out on six: weights" in result.markdown()
    (tmp_path / "four_pan.tif").unlink()
    with pytest.raises(KSDiffError, match="left out on six"):
        evaluate(tmp_path, ["exp", "ksdiff"], weights=HighPassModulation(4))


def test_pixels_without_data_are_refused(tmp_path):
    pan, ms, gt = procedural_scene(1, 128, 4)
    write_scene(tmp_path, "a", pan, ms, gt, nodata=int(ms[0, 3, 3]))
    with pytest.raises(KSDiffError, match="pixels without data cannot be judged"):
        evaluate(tmp_path, ["exp"])


def test_unknown_methods_are_refused(folder):
    with pytest.raises(KSDiffError, match="'pca' is not one of exp"):
        evaluate(folder, ["exp", "pca"])
    with pytest.raises(KSDiffError, match="'none' is not one of"):
        evaluate(folder, [" "])


def test_all_classical_methods_and_ksdiff_are_the_default():
    assert set(DEFAULT_METHODS) == {*METHODS, "ksdiff"}
