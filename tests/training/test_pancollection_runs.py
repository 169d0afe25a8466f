"""PanCollection files train: by the bundled configs, and in worker processes."""

import dataclasses
from pathlib import Path

import pytest

from ksdiff.config import Config, DataConfig, load_config
from ksdiff.errors import KSDiffError
from ksdiff.training import run
from ksdiff.training.samples import Samples
from tests.support.models import small_config
from tests.support.pancollection import patches, shifted, write_h5
from tests.support.training import with_training


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    arrays = patches()
    for name in ("train", "valid"):
        write_h5(tmp_path / f"{name}_wv3.h5", arrays)
    monkeypatch.setenv("KSDIFF_DATA", str(tmp_path))
    return tmp_path


def test_the_bundled_config_finds_its_files_and_leaves_values_alone(folder):
    samples = Samples(load_config("wv3"), 10)
    one = samples[3]
    assert one.gt.shape == (1, 8, 64, 64) and one.inputs.pan.shape == (1, 1, 64, 64)
    means = (one.gt.mean((2, 3)) / one.inputs.lms.mean((2, 3)) - 1).abs()
    assert means.max() < 0.02
    # Turned, but nothing else: the same patch has the same values wherever it is drawn.
    sums = {round(samples[i].gt.double().sum().item(), 2) for i in range(10)}
    assert len(sums) <= 3


def test_a_run_on_files_scores_its_validation_patches(folder):
    data = DataConfig(
        train_h5="${KSDIFF_DATA}/train_wv3.h5",
        valid_h5="${KSDIFF_DATA}/valid_wv3.h5",
        sensor="wv3",
        crop=32,
        margin=4,
    )
    config = with_training(
        Config(model=small_config(bands=8), data=data),
        run_dir=str(folder / "run"),
        batch=2,
        steps_stage1=2,
        steps_stage2=1,
        workers=1,
        accelerator="cpu",
    )
    weights = run(config)
    assert weights.exists()
    assert "ERGAS/valid_wv3[2]" in (folder / "run" / "metrics.csv").read_text()


def test_files_that_do_not_fit_the_config_are_named(folder):
    config = load_config("wv3")
    four = dataclasses.replace(config, model=dataclasses.replace(config.model, bands=4))
    with pytest.raises(KSDiffError, match=r"train_wv3\.h5: 8 bands, but model\.bands is 4"):
        Samples(four, 1)
    large = dataclasses.replace(config, data=dataclasses.replace(config.data, crop=128))
    with pytest.raises(KSDiffError, match=r"patches of 64 x 64 .* smaller than the crop of 128"):
        Samples(large, 1)
    write_h5(folder / "train_wv3.h5", shifted(patches()))
    with pytest.raises(KSDiffError, match="ksdiff data repair"):
        Samples(config, 1)
    (folder / "train_wv3.h5").unlink()
    with pytest.raises(KSDiffError, match=r"train_wv3\.h5: there is no such file"):
        Samples(config, 1)
