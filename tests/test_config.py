import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ksdiff.config import (
    Config,
    DataConfig,
    ModelConfig,
    TrainingConfig,
    bundled_configs,
    config_from_dict,
    config_to_dict,
    load_config,
    save_config,
)
from ksdiff.errors import KSDiffError
from ksdiff.sensors import get_sensor

PRESETS = sorted((Path(__file__).parents[1] / "ksdiff" / "configs").glob("*.yaml"))


@settings(deadline=None, max_examples=30)
@given(
    bands=st.integers(1, 16),
    widths=st.lists(st.integers(1, 512), min_size=1, max_size=4),
    exclude=st.lists(st.text(), max_size=3),
    rate=st.floats(0, 1),
)
def test_a_config_survives_the_round_trip(bands, widths, exclude, rate):
    config = Config(
        ModelConfig(bands=bands, widths=tuple(widths)),
        DataConfig(exclude=tuple(exclude)),
        TrainingConfig(learning_rate=rate),
    )
    assert config_from_dict(config_to_dict(config)) == config


def test_a_file_survives_the_round_trip(tmp_path):
    config = Config(model=ModelConfig(bands=6, ratio=2))
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


def test_left_out_fields_keep_their_defaults(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("model: {bands: 8}\n")
    assert load_config(path) == Config(model=ModelConfig(bands=8))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {bandz: 4}", "model: unknown key 'bandz'; known keys are bands"),
        ("colour: red", "unknown key 'colour'"),
        ("model: {prior: {token: 4}}", "prior: unknown key 'token'"),
        ("model: {bands: four}", "bands: expected int or any, got 'four'"),
        ("model: {bands: true}", "bands: expected int or any, got True"),
        ("training: {learning_rate: fast}", "learning_rate: expected float, got 'fast'"),
        ("model: {kernels: {ranks: [4, 4]}}", "ranks: expected a list of 4 int"),
        ("model: 3", "model: expected a mapping of fields, got 3"),
        ("model: {bands: [}", "not readable as YAML"),
    ],
)
def test_a_bad_config_names_the_field(tmp_path, text, message):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(KSDiffError, match="(?s)config.yaml.*" + message.replace("[", r"\[")):
        load_config(path)


def test_a_config_may_change_a_bundled_one(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("base: ksdiff-s-4band\nmodel: {kernels: {heads: 2}}\ndata: {exclude: [a]}\n")
    base, config = load_config("ksdiff-s-4band"), load_config(path)
    assert config.model.kernels == dataclasses.replace(base.model.kernels, heads=2)
    assert config.data == dataclasses.replace(base.data, exclude=("a",))
    assert config.training == base.training
    path.write_text("base: ksdiff-xl\n")
    with pytest.raises(KSDiffError, match=r"config\.yaml: base: expected one of .*got 'ksdiff-xl'"):
        load_config(path)


def test_a_base_is_found_beside_its_file_and_may_have_one_itself(tmp_path):
    (tmp_path / "sub").mkdir()
    low, high = tmp_path / "low.yaml", tmp_path / "sub" / "high.yaml"
    low.write_text("base: ksdiff-s-tenth\ntraining: {batch: 3, warmup: 7}\n")
    high.write_text("base: ../low.yaml\ntraining: {batch: 2}\n")
    tenth, config = load_config("ksdiff-s-tenth"), load_config(high)
    assert config.training == dataclasses.replace(tenth.training, batch=2, warmup=7)
    assert (config.model, config.data) == (tenth.model, tenth.data)
    low.write_text("base: sub/high.yaml\n")
    with pytest.raises(
        KSDiffError, match=r"low\.yaml: base: 'sub/high\.yaml' leads back to itself"
    ):
        load_config(high)


def test_bundled_configs_go_by_name(tmp_path, monkeypatch):
    assert {"wv3", "gf2", "qb", "wv2"} <= set(bundled_configs())
    assert load_config("gf2").data.train_h5 == "${KSDIFF_DATA}/train_gf2.h5"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gf2").write_text("model: {bands: 3}\n")
    assert load_config("gf2").model.bands == 3
    with pytest.raises(KSDiffError, match="is a folder"):
        load_config(tmp_path)


@pytest.mark.parametrize("name", ["wv3", "gf2", "qb", "wv2"])
def test_published_sets_are_not_varied(name):
    config = load_config(name)
    assert config.data.sensor == name
    assert config.model.bands == get_sensor(name).bands
    assert (config.data.haze, config.data.delivered_share, config.data.crop) == (0, 1, 64)


def test_a_missing_config_is_named():
    with pytest.raises(KSDiffError, match=r"config nowhere\.yaml: there is no such file"):
        load_config("nowhere.yaml")


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_the_presets_load(path):
    assert load_config(path).training.run_dir.endswith(path.stem)
