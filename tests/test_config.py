from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ksdiff.config import (
    Config,
    DataConfig,
    ModelConfig,
    TrainingConfig,
    config_from_dict,
    config_to_dict,
    load_config,
    save_config,
)
from ksdiff.errors import KSDiffError

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
        ("model: {bands: four}", "bands: expected int, got 'four'"),
        ("model: {bands: true}", "bands: expected int, got True"),
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


def test_a_missing_config_is_named():
    with pytest.raises(KSDiffError, match=r"config nowhere\.yaml: there is no such file"):
        load_config("nowhere.yaml")


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_the_presets_load(path):
    assert load_config(path).training.run_dir.endswith(path.stem)
