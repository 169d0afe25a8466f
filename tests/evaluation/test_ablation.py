import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from ksdiff.cli import app
from ksdiff.config import Config, config_to_dict
from ksdiff.errors import KSDiffError
from ksdiff.evaluation import ablation as module
from ksdiff.evaluation.ablation import load_ablation, train
from ksdiff.evaluation.ablation_report import markdown, paired_t_test, report, write
from ksdiff.evaluation.prior import inspect_prior
from ksdiff.models.ksdiff import KSDiff
from ksdiff.training.settings import check_settings
from ksdiff.training.validation import validation_scenes
from tests.support.models import any_bands_config

ROWS = {
    "KSDiff": {},
    "no prior": {"model": {"prior": {"source": "none"}}},
    "the same": {"model": {"prior": {"source": "diffusion"}}},
}


@pytest.fixture
def file(config: Config, tmp_path):
    """Two trainings of two steps for each of two seeds."""
    values = config_to_dict(config)
    values["training"] |= {"steps_stage1": 1, "steps_stage2": 1}
    content = {
        "folder": str(tmp_path / "ablation"),
        "seeds": [0, 1],
        "base": values,
        "tables": [{"title": "The prior", "reference": "KSDiff", "rows": ROWS}],
    }
    path = tmp_path / "ablation.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_an_ablation_ends_in_tables_and_repeats_nothing(file, monkeypatch):
    ablation = load_ablation(file)
    started = []
    train(ablation, started.append)
    assert len(started) == 4
    monkeypatch.setattr(module, "run", None)
    train(ablation, started.append)
    assert len(started) == 4
    values = report(ablation)
    rows = values["tables"][0]["rows"]
    assert rows["KSDiff"]["ergas"]["seeds"] == rows["the same"]["ergas"]["seeds"]
    assert rows["the same"]["p"] == 1
    assert rows["no prior"]["prior"] is None
    assert rows["no prior"]["parameters"] < rows["KSDiff"]["parameters"]
    json_path, text_path, plot_path = write(values, ablation.folder)
    assert json.loads(json_path.read_text()) == values
    assert text_path.read_text() == markdown(values)
    assert "| no prior | " in markdown(values)
    assert plot_path.read_bytes().startswith(b"\x89PNG")
    told = CliRunner().invoke(app, ["ablate", str(file)])
    assert told.exit_code == 0
    assert "| no prior | " in told.stdout
    folder = ablation.runs().popitem()[1].data.validation
    weights = ablation.folder / next(iter(ablation.runs())) / "weights.safetensors"
    told = CliRunner().invoke(
        app, ["prior", "--weights", str(weights), "--data", folder, "--json", str(file) + ".json"]
    )
    assert "Another window's prior changes ERGAS by" in told.stdout
    assert json.loads(Path(f"{file}.json").read_text())["windows"] == 4


def test_equal_rows_share_a_run_and_another_value_is_another_run(file):
    ablation = load_ablation(file)
    rows = ablation.tables[0].rows
    assert rows["KSDiff"] == rows["the same"]
    assert len(ablation.runs()) == 4
    longer = dataclasses.replace(
        rows["KSDiff"], training=dataclasses.replace(rows["KSDiff"].training, batch=3)
    )
    assert module.run_name(longer, 0) not in ablation.runs()
    for name, config in ablation.runs().items():
        assert config.training.run_dir == str(ablation.folder / name)


def test_the_base_may_be_a_config_by_name(file, tmp_path):
    values = yaml.safe_load(file.read_text())
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(values["base"]))
    expected = load_ablation(file)
    file.write_text(yaml.safe_dump(values | {"base": "base.yaml"}))
    assert load_ablation(file) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base": "nowhere.yaml"}, "base: expected one of .* or a file in .*, got 'nowhere.yaml'"),
        ({"base": 3}, "base: expected a config or its name, got 3"),
        ({"seeds": []}, "seeds: expected a list of integers"),
        ({"colour": 1}, "expected the keys base, folder, seeds, tables"),
        ({"tables": [{"title": "a", "rows": {}}]}, "expected title, reference and rows"),
        ({"tables": [{"title": "a", "reference": "b", "rows": {}}]}, "'b' is not one of its rows"),
        (
            {"tables": [{"title": "a", "reference": "b", "rows": {"b": {"model": {"x": 1}}}}]},
            "a: b: model: unknown key 'x'",
        ),
    ],
)
def test_a_bad_file_says_what_is_wrong(file, change, message):
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | change))
    with pytest.raises(KSDiffError, match=f"ablation.yaml.*{message}"):
        load_ablation(file)


def test_the_paired_test_sees_what_is_common_to_pairs():
    a, b = [1.0, 2.0, 3.0], [1.1, 2.1, 3.11]
    assert paired_t_test(a, b) < 0.01
    assert paired_t_test(a, [3.0, 1.0, 2.2]) > 0.5
    assert paired_t_test(a, a) == 1
    assert math.isnan(paired_t_test([1.0], [2.0]))


def test_a_perfect_denoiser_is_reported_as_one(config, monkeypatch):
    torch.manual_seed(0)
    model = KSDiff(config.model).eval()
    scenes = validation_scenes(config)
    seen = []

    def remember(inputs, gt, original=model.target_prior):
        seen.append(original(inputs, gt))
        return seen[-1]

    monkeypatch.setattr(model, "target_prior", remember)
    monkeypatch.setattr(model, "denoise", lambda z, t, condition: torch.cat(seen))
    found = inspect_prior(model, scenes)
    assert found.windows == 4
    assert list(found.distance) == [1, 2, 4]
    assert max(found.distance.values()) < 1e-4
    assert found.ergas["sampled"] == pytest.approx(found.ergas["truth"], rel=1e-5)
    monkeypatch.undo()
    assert min(inspect_prior(model, scenes).distance.values()) > 0.5


def test_a_single_scene_of_any_bands_serves_by_its_windows(config):
    own = dataclasses.replace(config, model=any_bands_config())
    found = inspect_prior(KSDiff(own.model).eval(), validation_scenes(own))
    assert (found.scenes, found.windows) == (1, 4)


def test_a_model_without_a_prior_cannot_be_asked_for_it(config):
    model = dataclasses.replace(
        config.model, prior=dataclasses.replace(config.model.prior, source="none")
    )
    with pytest.raises(KSDiffError, match="this model has none"):
        inspect_prior(KSDiff(model), validation_scenes(config))
    with pytest.raises(KSDiffError, match="found 0"):
        inspect_prior(KSDiff(config.model), [])


@pytest.mark.parametrize(("name", "seeds"), [("any", 3), ("paper", 3), ("small", 3)])
def test_the_ablations_of_the_repository_are_valid(name, seeds):
    folder = Path(__file__).parents[2] / "benchmarks" / "studies"
    ablation = load_ablation(folder / f"ablation-{name}.yaml")
    assert len(ablation.seeds) == seeds
    for table in ablation.tables:
        for config in table.rows.values():
            check_settings(config)
            KSDiff(config.model)
