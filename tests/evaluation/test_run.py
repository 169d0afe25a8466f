import csv
import io
import json

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from ksdiff import KSDiffError
from ksdiff.baselines import METHODS, ClassicalPair
from ksdiff.config import Config
from ksdiff.evaluation import DEFAULT_METHODS, Evaluation, Row, SceneInfo, evaluate
from ksdiff.evaluation.report import HIGHER_IS_BETTER
from ksdiff.evaluation.scenes import subjects
from ksdiff.images.expansion import interp23tap
from ksdiff.images.translation import shift
from ksdiff.images.wald import degrade_ms
from ksdiff.inference.sharpen import Sharpener
from ksdiff.io.geotiff import write_scene
from ksdiff.metrics import full_indexes, reduced_indexes
from ksdiff.models.ksdiff import KSDiff
from ksdiff.models.weights import save_weights
from ksdiff.sensors import get_sensor
from ksdiff.synthetic.scene import procedural_scene
from tests.support.bands import apart
from tests.support.inference import HighPassModulation
from tests.support.models import small_config
from tests.support.pancollection import patches, write_h5


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
    given = ClassicalPair.of(pan, ms, (0.3,) * 4, 4, (2.0, 2.0))
    expected = reduced_indexes(METHODS["mtf-glp-hpm"](given), gt, 4, 1023.0)
    row = next(row for row in result.rows if (row.scene, row.method) == ("a", "mtf-glp-hpm"))
    assert row.resolution == "reduced"
    assert row.indexes == pytest.approx(expected)


def test_classical_methods_can_be_given_what_ksdiff_measures(tmp_path):
    pan, ms, gt = procedural_scene(1, 256, 4)
    moved = shift(torch.from_numpy(pan.astype("float32"))[None], 1.5, -1.0)[0].numpy()
    write_scene(tmp_path, "a", moved.clip(0, 2047).astype("uint16"), ms, gt)
    plain, fair = (
        evaluate(tmp_path, ["mtf-glp-hpm"], measured=measured) for measured in (False, True)
    )
    assert fair.rows[0].indexes["ERGAS"] < 0.8 * plain.rows[0].indexes["ERGAS"]
    assert fair.header["measured"] and not plain.header["measured"]


def test_where_there_is_no_truth_all_are_judged_beside_bands_brought_together(tmp_path):
    pan, _, gt = procedural_scene(3, 256, 8, sensor="wv3")
    truth = torch.from_numpy(gt.astype("float32"))[None]
    ms = degrade_ms(apart(truth, 1.6), get_sensor("wv3").ms_gains, 4)
    write_scene(tmp_path, "a", pan, ms[0].clip(0, 2047).numpy().astype("uint16"))
    (tmp_path / "scenes.json").write_text(json.dumps([{"name": "a", "sensor": "wv3"}]))
    weights = HighPassModulation(8)
    found = evaluate(tmp_path, ["mtf-glp-hpm", "ksdiff"], weights=weights, measured=True)
    read = next(iter(subjects(tmp_path, None)))
    placed = read.measured()
    sharpener = Sharpener(weights, sensor="wv3", together=True)
    together = sharpener.sharpen(read.pan[0], read.ms[0], read.phase)
    expected = (METHODS["mtf-glp-hpm"](placed.pair()), together[None])
    assert placed.alignment is not None
    for row, fused in zip(found.rows, expected, strict=True):
        gains = placed.sensor.ms_gains
        indexes = full_indexes(
            fused, placed.pan, placed.ms, placed.pair().lms, gains, 4, read.phase
        )
        assert row.indexes == pytest.approx(indexes)


def test_ksdiff_can_take_a_scene_as_classical_methods_do(folder):
    choice = {"registration": "off", "contrast": "deviations"}
    found = evaluate(folder, ["ksdiff"], weights=HighPassModulation(4), **choice)
    read = next(iter(subjects(folder, None)))
    sharpener = Sharpener(HighPassModulation(4), sensor="gf2", **choice)
    expected = read.judge(sharpener.sharpen(read.pan[0], read.ms[0], read.phase)[None], 21)
    assert found.rows[0].indexes == pytest.approx(expected)
    assert found.header | choice == found.header
    with pytest.raises(KSDiffError, match="measured: gives KSDiff"):
        evaluate(folder, ["ksdiff"], measured=True, registration="off")


def test_scenes_without_truth_get_the_indexes_of_full_resolution(result):
    pan, ms, _ = tensors(2)
    given = ClassicalPair.of(pan, ms, (0.3,) * 4, 4, (2.0, 2.0), "reflect")
    expected = full_indexes(given.lms, pan, ms, given.lms, (0.3,) * 4, 4, (2.0, 2.0))
    row = next(row for row in result.rows if (row.scene, row.method) == ("b", "exp"))
    assert row.resolution == "full"
    assert row.indexes == pytest.approx(expected)


def test_an_untrained_ksdiff_scores_as_high_pass_modulation_or_better(result):
    for scene in ("a", "b"):
        hpm, ours = (
            next(r.indexes for r in result.rows if (r.scene, r.method) == (scene, method))
            for method in ("mtf-glp-hpm", "ksdiff")
        )
        for name, value in hpm.items():
            worse = value - ours[name] if name in HIGHER_IS_BETTER else ours[name] - value
            assert worse < 0.1 * value + 0.02, name


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
    assert mean.deviations["SAM"] == pytest.approx(np.std(own, ddof=1))
    table = result.markdown()
    assert "Mean ± standard deviation over 2 scenes, reduced resolution" in table
    assert f"{np.mean(own):.4f} ± {np.std(own, ddof=1):.4f}" in table


def test_csv_has_a_line_per_scene_and_method_and_for_means(result, tmp_path):
    result.save(tmp_path / "scores.csv")
    lines = list(csv.DictReader(io.StringIO((tmp_path / "scores.csv").read_text())))
    assert len(lines) == 6 + 2 * 6
    first = result.rows[0]
    assert (lines[0]["scene"], lines[0]["method"]) == (first.scene, first.method)
    assert float(lines[0]["ERGAS"]) == first.indexes["ERGAS"]
    assert lines[0]["HQNR"] == ""
    assert {line["scene"] for line in lines} == {"a", "b", "mean", "standard deviation"}


def test_latex_rows_show_mean_and_deviation_and_mark_the_best(result, tmp_path):
    def row(scene, method, value):
        return Row(scene, method, "reduced", 1.0, {"SAM": value, "D_s": 1 - value})

    infos = [SceneInfo(n, "qb", 4, 4, "reduced", 64, 64, 2047.0) for n in "ab"]
    rows = [row("a", "exp", 1.0), row("b", "exp", 2.0), row("a", "x", 0.5), row("b", "x", 0.5)]
    text = Evaluation({}, infos, rows, []).latex()
    assert r"Method & SAM $\downarrow$ & D\_s $\downarrow$ \\" in text
    assert r"x & \textbf{0.500} $\pm$ 0.000 & 0.500 $\pm$ 0.000 \\" in text
    assert r"exp & 1.500 $\pm$ 0.707 & \textbf{-0.500} $\pm$ 0.707 \\" in text
    result.save(tmp_path / "rows.tex")
    assert "% 1 scene, full resolution" in (tmp_path / "rows.tex").read_text()


def test_a_method_that_missed_scenes_is_marked_and_never_the_best():
    infos = [SceneInfo(n, "qb", 4, 4, "reduced", 64, 64, 2047.0) for n in "ab"]
    rows = [Row(s, "exp", "reduced", 1.0, {"SAM": 2.0}) for s in "ab"]
    rows.append(Row("a", "ksdiff", "reduced", 1.0, {"SAM": 1.0}))
    means = Evaluation({}, infos, rows, []).markdown().split("Mean ±")[1]
    assert "ksdiff (mean of 1)" in means and "**2.0000 ± 0.0000**" in means


def test_many_scenes_are_shown_as_means_only(tmp_path):
    infos = [SceneInfo(str(n), "qb", 4, 4, "reduced", 64, 64, 2047.0) for n in range(20)]
    rows = [Row(str(n), "exp", "reduced", 1.0, {"SAM": 2.0}) for n in range(20)]
    result = Evaluation({}, infos, rows, [])
    assert result.markdown().count("| method |") == 1
    result.save(tmp_path / "all.md")
    assert (tmp_path / "all.md").read_text().count("| method |") == 21
    with pytest.raises(KSDiffError, match=r"all\.txt: expected a name that ends in \.json, \.csv"):
        result.save(tmp_path / "all.txt")


def test_pancollection_files_are_evaluated_as_published(tmp_path):
    arrays = patches(2, size=64)
    write_h5(tmp_path / "test_wv3.h5", arrays)
    result = evaluate(tmp_path / "test_wv3.h5", ["exp", "gsa"], sensor="wv3", border=8)
    assert [row.scene for row in result.rows] == ["test_wv3[0]"] * 2 + ["test_wv3[1]"] * 2
    gt, ms = (torch.from_numpy(arrays[key][:1]).float() for key in ("gt", "ms"))
    expected = reduced_indexes(interp23tap(ms, 4), gt, 4, 2047.0, 8)
    assert result.rows[0].indexes == pytest.approx(expected)
    write_h5(tmp_path / "full.h5", arrays, gt=None)
    full = evaluate(tmp_path / "full.h5", ["exp"], sensor="wv3")
    assert set(full.rows[0].indexes) >= {"HQNR", "D_s"}
    with pytest.raises(KSDiffError, match="--sensor"):
        evaluate(tmp_path / "full.h5", ["exp"])


def test_several_weights_are_several_methods(folder, tmp_path):
    torch.manual_seed(0)
    for name in ("one", "two"):
        config = Config(model=small_config())
        save_weights(tmp_path / f"{name}.safetensors", KSDiff(config.model), config)
    both = [tmp_path / f"{name}.safetensors" for name in ("one", "two")]
    result = evaluate(folder, ["exp", "ksdiff"], weights=both)
    assert [row.method for row in result.rows] == ["exp", "one", "two"] * 2
    assert set(result.header["weights"]) == {"one", "two"}
    with pytest.raises(KSDiffError, match="two methods would be called 'one'"):
        evaluate(folder, ["ksdiff"], weights=[both[0], both[0]])


def test_pictures_show_every_method(folder, tmp_path):
    evaluate(folder, ["exp", "gsa"], pictures=tmp_path / "new" / "pictures")
    for name, rows in (("a", 3), ("b", 2)):
        height, width, _ = imread(tmp_path / "new" / "pictures" / f"{name}.png").shape
        columns = 5 if name == "a" else 4
        assert width / height == pytest.approx(2.4 * columns / (2.65 * rows), rel=0.02)
    (tmp_path / "file").write_text("")
    with pytest.raises(KSDiffError, match=r"pictures .*file: cannot be written"):
        evaluate(folder, ["exp"], pictures=tmp_path / "file")


def test_json_holds_everything_and_is_strict(result, tmp_path):
    result.save(tmp_path / "scores.json")

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
