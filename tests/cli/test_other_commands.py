import json
import os

import numpy as np
import pytest
import rasterio

from ksdiff import __version__
from ksdiff.io.geotiff import write_scene
from ksdiff.io.rasters import open_pair
from ksdiff.synthetic.scene import procedural_scene
from tests.support.cli import failed
from tests.support.pancollection import patches, shifted, write_h5


def test_help_names_every_command(ksdiff):
    status, out, _ = ksdiff("--help")
    assert status == 0
    for command in ("sharpen", "batch", "train", "evaluate", "simulate", "info"):
        assert command in out


def test_info_tells_version_build_backends_and_devices(start):
    process = start("info")
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    for word in ("ksdiff ", "PyTorch ", "Build", "Backends", "reference: available", "cpu: "):
        assert word in out
    assert "Bundled weights" in out and "Sensors" in out


def test_drawn_scenes_can_be_evaluated(ksdiff, tmp_path, weights):
    scenes = tmp_path / "new" / "scenes"
    status, out, errors = ksdiff(
        *("simulate", "--out", scenes, "--size", 128, "--count", 2, "--sensor", "gf2")
    )
    assert status == 0, errors
    assert "scene_0_pan.tif" in out and "scene_1_pan.tif" in out
    status, out, errors = ksdiff(
        *("evaluate", "--data", scenes, "--methods", "ksdiff,exp,mtf-glp-hpm"),
        *("--weights", weights, "--json", tmp_path / "scores.json"),
    )
    assert status == 0, errors
    assert out.count("| mtf-glp-hpm |") == 3 and "over 2 scenes" in out
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert {"date", "torch", "python", "processor", "cores", "border"} <= set(scores["header"])
    assert len(scores["rows"]) == 6 and len(scores["means"]) == 3
    assert all(np.isfinite(list(row["indexes"].values())).all() for row in scores["rows"])
    call = ("evaluate", "--data", scenes, "--out")
    assert failed(ksdiff(*call, tmp_path / "scores.json"), "scores.json: exists already")
    assert failed(ksdiff(*call, tmp_path / "scores.xls"), "a name that ends in .json, .csv")


def test_the_prior_is_judged_on_the_scenes_that_are_named(ksdiff, tmp_path, monkeypatch):
    monkeypatch.setenv("KSDIFF_DATA", str(tmp_path / "none"))
    scenes, path = tmp_path / "scenes", tmp_path / "prior.json"
    scenes.mkdir()
    for name, bands in (("three", 3), ("five", 5)):
        pan, ms, gt = procedural_scene(1, 128, bands)
        write_scene(scenes, name, pan[:, :76, :92], ms[:, :19, :23], gt[:, :76, :92])
    call = ("prior", "--data", scenes, "--weights", "ksdiff-s", "--json", path)
    status, out, errors = ksdiff(*call)
    assert status == 0, errors
    assert "2 windows of 2 scenes" in out
    assert json.loads(path.read_text())["ergas"]["sampled"] > 0
    nothing = ksdiff("prior", "--data", tmp_path / "no", "--weights", "ksdiff-s")
    assert failed(nothing, "there is no such folder")


@pytest.mark.parametrize("bands", [3, 8])
def test_the_steps_of_the_way_are_timed_for_any_bands(ksdiff, bands):
    status, out, errors = ksdiff("profile", "--size", 64, "--bands", bands)
    assert status == 0, errors
    assert "back projection" in out and "GFLOP/s" in out


def test_drawing_does_not_replace_files_unless_told(ksdiff, tmp_path):
    call = ("simulate", "--out", tmp_path, "--size", 64, "--name", "x")
    assert ksdiff(*call)[0] == 0
    assert failed(ksdiff(*call), "x_pan.tif: exists already")
    assert ksdiff(*call, "--overwrite", "--seed", 1)[0] == 0
    assert sorted(os.listdir(tmp_path)) == ["x_gt.tif", "x_ms.tif", "x_pan.tif"]


def test_a_given_pair_is_degraded_onto_the_grid_of_its_ms(ksdiff, folder):
    status, _, errors = ksdiff(
        *("simulate", "--out", folder / "low", "--name", "b"),
        *("--pan", folder / "a_pan.tif", "--ms", folder / "a_ms.tif"),
    )
    assert status == 0, errors
    low = folder / "low"
    with (
        open_pair(low / "b_pan.tif", low / "b_ms.tif") as pair,
        rasterio.open(folder / "a_ms.tif") as ms,
        rasterio.open(low / "b_gt.tif") as gt,
    ):
        assert (pair.ratio, pair.shape, pair.phase) == (4, (64, 64), (2.0, 2.0))
        assert pair.transform == ms.transform == gt.transform
        assert pair.read_truth(low / "b_gt.tif").shape == (1, 4, 64, 64)
        np.testing.assert_array_equal(gt.read(), ms.read())
        assert gt.descriptions == ms.descriptions


def test_simulation_wants_both_images_or_none(ksdiff, folder):
    result = ksdiff("simulate", "--out", folder, "--pan", folder / "a_pan.tif")
    assert failed(result, "pan and ms: give both, or neither")


def test_evaluation_names_unknown_methods_and_empty_folders(ksdiff, folder, tmp_path_factory):
    result = ksdiff("evaluate", "--data", folder, "--methods", "exp,magic")
    assert failed(result, "'magic' is not one of exp, ", "ksdiff")
    empty = tmp_path_factory.mktemp("empty")
    assert failed(ksdiff("evaluate", "--data", empty), "found none")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model:\n  bandz: 4\n", ["unknown key 'bandz'"]),
        ("model: [1, 2\n", ["not readable as YAML"]),
        ("training:\n  batch: many\n", ["batch: expected int"]),
    ],
)
def test_training_refuses_bad_configurations(ksdiff, tmp_path, text, words):
    (tmp_path / "config.yaml").write_text(text)
    assert failed(ksdiff("train", tmp_path / "config.yaml"), "config.yaml", *words)


def test_training_refuses_a_missing_configuration(ksdiff, tmp_path):
    assert failed(ksdiff("train", tmp_path / "no.yaml"), "no.yaml: there is no such file")


def test_pancollection_files_are_checked_and_repaired(ksdiff, tmp_path):
    broken = write_h5(tmp_path / "train_wv3.h5", shifted(patches()))
    assert failed(ksdiff("data", "check", broken, "--sensor", "wv3"), "ksdiff data repair")
    mended = tmp_path / "mended.h5"
    assert ksdiff("data", "repair", broken, "--out", mended)[1].endswith(
        "2 of 3 patches repaired\n"
    )
    status, out, _ = ksdiff("data", "check", mended, "--sensor", "wv3")
    assert status == 0 and "3 patches of 64 x 64 with truth, 8 bands (wv3)" in out
    assert failed(ksdiff("data", "repair", broken, "--out", mended), "exists already")


def test_training_passes_stage_and_resume_on(ksdiff, tmp_path, monkeypatch):
    calls = []

    def run(config, stage, resume):
        calls.append((config.training.seed, stage, resume))
        return tmp_path / "weights.safetensors"

    monkeypatch.setattr("ksdiff.training.run", run)
    (tmp_path / "config.yaml").write_text("training:\n  seed: 5\n")
    status, out, _ = ksdiff("train", tmp_path / "config.yaml", "--stage", "2", "--resume")
    assert (status, calls) == (0, [(5, "2", True)])
    assert "weights.safetensors" in out


def test_the_version_is_told_before_anything_heavy_is_imported(start):
    process = start("--version")
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out, errors) == (0, f"ksdiff {__version__}\n", "")


@pytest.mark.parametrize(
    "command", ["sharpen", "batch", "adapt", "evaluate", "simulate", "train", "prior"]
)
def test_help_ends_with_an_example(ksdiff, command):
    status, out, _ = ksdiff(command, "--help")
    assert status == 0
    assert f"Example: ksdiff {command} " in out


def test_many_scenes_are_sharpened_and_failures_listed_at_the_end(ksdiff, tmp_path, weights):
    scenes, out = tmp_path / "scenes", tmp_path / "fused"
    draw = ("simulate", "--out", scenes, "--size", 128)
    assert ksdiff(*draw, "--count", 2, "--bands", 4)[0] == 0
    assert ksdiff(*draw, "--name", "odd", "--bands", 7)[0] == 0
    call = ("batch", scenes, "--out", out, "--weights", weights, "--dtype", "float32")
    result = ksdiff(*call)
    assert failed(result, "1 of 3 scenes failed", "odd: weights", "7 bands")
    assert "2 scenes sharpened, 0 existed already, 1 failed" in result[1]
    assert sorted(os.listdir(out)) == ["scene_0.tif", "scene_1.tif"]
    with rasterio.open(out / "scene_1.tif") as fused:
        assert (fused.count, fused.shape, fused.dtypes[0]) == (4, (128, 128), "float32")
    written = (out / "scene_0.tif").stat().st_mtime_ns
    assert "0 scenes sharpened, 2 existed already, 1 failed" in ksdiff(*call)[1]
    assert (out / "scene_0.tif").stat().st_mtime_ns == written
    for name in ("odd_pan.tif", "odd_ms.tif"):
        (scenes / name).unlink()
    assert ksdiff(*call, "--quiet") == (0, "", "")
    nothing = ksdiff("batch", tmp_path / "no", "--out", out)
    assert failed(nothing, "expected a folder, a .csv file or a STAC collection")
