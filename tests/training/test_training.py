import csv
import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from ksdiff.config import TrainingConfig, load_config
from ksdiff.errors import KSDiffError
from ksdiff.models.ksdiff import KSDiff
from ksdiff.models.weights import load_weights
from ksdiff.training import run
from ksdiff.training.augment import collate
from ksdiff.training.log import save_curves
from ksdiff.training.samples import Samples
from ksdiff.training.settings import check_settings
from ksdiff.training.speed import StepClock, loader_speed, verdict
from ksdiff.training.stages import StageOne, StageTwo
from ksdiff.training.trainer import learning_rate_factor
from tests.support.models import any_bands_config
from tests.support.training import assert_same_weights, weights_of, with_training


def rows_of(config) -> list[dict[str, str]]:
    with (Path(config.training.run_dir) / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_all_that_it_promises(whole):
    folder = Path(whole.training.run_dir)
    assert load_weights(folder / "weights.safetensors")[1] == whole
    assert load_config(folder / "config.yaml") == whole
    for name in ("metrics.csv", "curves.png", "validation.png", "tensorboard"):
        assert (folder / name).exists()
    assert [p.name for p in (folder / "checkpoints").iterdir()] == ["stage2-0000006"]
    names = {(row["stage"], row["name"]) for row in rows_of(whole)}
    assert {("1", "loss"), ("2", "diffusion"), ("2", "fusion"), ("2", "ERGAS/a")} <= names
    assert {("1", "samples_per_s/loader"), ("1", "samples_per_s/step")} <= names
    (start,) = json.loads((folder / "environment.json").read_text())
    assert {"ksdiff", "code", "torch", "python", "system", "gpu", "date"} <= set(start)
    assert (start["processes"], start["stage"], start["step"]) == (1, 0, 0)


def test_stages_run_one_by_one_give_what_all_gives(config, whole):
    run(config, "1")
    run(config, "2")
    assert_same_weights(config, whole)


def test_weights_for_any_bands_learn_from_scenes_of_ones_own(config):
    data = dataclasses.replace(config.data, pairs="", ms_only="", crop=64)
    own = dataclasses.replace(config, model=any_bands_config(), data=data)
    run(with_training(own, validate_every=3))
    judged = {(row["stage"], row["step"]) for row in rows_of(own) if row["name"] == "ERGAS/a"}
    assert judged == {("1", "3"), ("1", "6"), ("2", "3"), ("2", "6")}
    nothing = dataclasses.replace(own, data=dataclasses.replace(data, scenes="", validation=""))
    nothing = with_training(nothing, run_dir=f"{own.training.run_dir}-2")
    with pytest.raises(KSDiffError, match="data: expected images to learn from"):
        run(nothing)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scenes", [3, 70])
def test_curves_of_any_number_of_scenes_fit_into_the_picture(scenes, tmp_path):
    rows = [
        f"{stage},{step},{index}/{name},{1 / (step + name)}"
        for stage in (1, 2)
        for step in (1, 2, 3)
        for index in ("SAM", "ERGAS")
        for name in range(scenes)
    ]
    (tmp_path / "metrics.csv").write_text("\n".join(("stage,step,name,value", *rows)) + "\n")
    save_curves(tmp_path)
    assert (tmp_path / "curves.png").stat().st_size > 0


def test_another_seed_trains_other_weights(config, whole):
    short = with_training(config, seed=1, steps_stage1=1, steps_stage2=0)
    run(short)
    name = "network.stem.weight"
    assert not torch.equal(weights_of(short)[name], weights_of(whole)[name])


def test_early_stopping_ends_with_the_weights_that_scored_best(config):
    stopping = with_training(
        config,
        early_stopping=2,
        validate_every=1,
        learning_rate=0.1,
        learning_rate_stage2=0.1,
        warmup=0,
        ema=0.2,
        schedule="constant",
        steps_stage1=30,
        steps_stage2=30,
    )
    run(stopping)
    for stage in ("1", "2"):
        scores = [
            float(row["value"])
            for row in rows_of(stopping)
            if (row["stage"], row["name"]) == (stage, "ERGAS/a")
        ]
        assert len(scores) < 30
        assert int(np.argmin(scores)) == len(scores) - 3
    best = load_weights(Path(stopping.training.run_dir) / "best-stage2.safetensors")[0]
    for name, tensor in weights_of(stopping).items():
        assert torch.equal(best.state_dict()[name], tensor)


def test_early_stopping_needs_something_to_judge_by(config):
    blind = dataclasses.replace(
        with_training(config, early_stopping=1),
        data=dataclasses.replace(config.data, validation=""),
    )
    with pytest.raises(KSDiffError, match=r"training\.early_stopping: there are no validation"):
        run(blind)


def test_mixed_precision_trains_and_keeps_float32_weights(config):
    mixed = with_training(config, precision="bf16-mixed", steps_stage1=2, steps_stage2=2)
    run(mixed)
    for tensor in weights_of(mixed).values():
        assert tensor.dtype == torch.float32 and tensor.isfinite().all()


def test_a_diverging_run_stops_with_advice(config):
    wild = with_training(config, learning_rate=1e30, warmup=0, validate_every=100)
    with pytest.raises(KSDiffError, match=r"diverged.*training\.learning_rate"):
        run(wild, "1")


@pytest.mark.parametrize(
    ("group", "changes", "message"),
    [
        ("training", {"batch": 0}, r"training\.batch: expected a number above 0"),
        ("training", {"workers": -1}, r"training\.workers: expected a number 0 or more"),
        ("training", {"schedule": "steps"}, "cosine, linear, constant, got 'steps'"),
        (
            "training",
            {"early_stopping": 2, "validate_every": 0},
            r"training\.early_stopping: without validation",
        ),
        ("data", {"crop": 60}, r"data\.crop: expected a multiple of 8"),
        ("data", {"margin": 16}, r"data\.margin: 16 pixels .* crop of 32"),
        ("model", {"depths": (1,)}, r"model\.depths: expected one for each of model\.widths"),
    ],
)
def test_settings_that_cannot_work_are_named(config, group, changes, message):
    part = dataclasses.replace(getattr(config, group), **changes)
    with pytest.raises(KSDiffError, match=message):
        check_settings(dataclasses.replace(config, **{group: part}))


def test_validation_can_be_left_out(config, tmp_path):
    run(with_training(config, validate_every=0, run_dir=str(tmp_path / "run")), stage="1")
    assert not (tmp_path / "run/validation.png").exists()
    assert "SAM/" not in (tmp_path / "run/metrics.csv").read_text()


def test_a_loader_is_timed_without_its_start():
    def batches():
        time.sleep(0.2)
        for _ in range(100):
            yield None
            time.sleep(0.01)

    assert 200 < loader_speed(batches(), 4, 0) <= 400
    assert loader_speed([], 4, 0) == 0


def test_waiting_for_samples_is_told_from_stepping():
    def batches():
        for _ in range(5):
            time.sleep(0.02)
            yield None

    clock = StepClock()
    for _ in clock.waiting(batches()):
        time.sleep(0.02)
        clock.count(10)
    speeds = clock.speeds()
    assert 0.3 < speeds["waiting_share"] < 0.7
    assert speeds["samples_per_s/step"] > 1.4 * speeds["samples_per_s/trained"]
    assert "may limit" in verdict(100.0, 90.0, 1)
    assert "keeps up" in verdict(200.0, 90.0, 1)


def test_training_lowers_the_loss_of_both_stages(config):
    torch.manual_seed(0)
    samples = Samples(config, 4)
    batch = collate([samples[i] for i in range(4)])
    model, noise = KSDiff(config.model), torch.Generator().manual_seed(0)
    for stage in (StageOne(model, 4), StageTwo(model, 4, 1.0)):
        optimizer = torch.optim.AdamW(stage.parameters_to_train(), 2e-3)
        losses = []
        for _ in range(25):
            loss = stage(batch, noise)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert np.mean(losses[-5:]) < 0.9 * losses[0]


def test_stage_two_leaves_the_target_encoder_alone(config):
    model = KSDiff(config.model)
    stage = StageTwo(model, 4, 1.0)
    trained = {id(parameter) for parameter in stage.parameters_to_train()}
    assert not trained & {id(parameter) for parameter in model.target_encoder.parameters()}
    assert {id(parameter) for parameter in model.denoiser.parameters()} <= trained
    assert {id(parameter) for parameter in model.network.parameters()} <= trained


@pytest.mark.parametrize("sampling_steps", [1, 4])
def test_stage_two_unrolls_all_steps_whatever_inference_takes(config, sampling_steps):
    diffusion = dataclasses.replace(config.model.diffusion, sampling_steps=sampling_steps)
    samples, model = (
        Samples(config, 2),
        KSDiff(dataclasses.replace(config.model, diffusion=diffusion)),
    )
    times = []
    model.denoiser.register_forward_pre_hook(lambda _, values: times.append(values[1][0].item()))
    batch = collate([samples[0], samples[1]])
    StageTwo(model, 4, 1.0)(batch, torch.Generator().manual_seed(0))
    assert times[1:] == [4, 3, 2, 1]  # after the one at a random time, for the diffusion loss


@pytest.mark.parametrize("schedule", ["linear", "constant"])
def test_other_schedules_warm_up_too(schedule):
    training = TrainingConfig(warmup=10, schedule=schedule)
    factors = [learning_rate_factor(step, 100, training) for step in range(1, 101)]
    assert factors[0] == pytest.approx(0.1, rel=0.02)
    assert factors[-1] == pytest.approx(0.01 if schedule == "linear" else 1.0)
    assert factors[9:] == sorted(factors[9:], reverse=True)


def test_a_separate_stage_two_trains_the_diffusion_alone(config):
    torch.manual_seed(0)
    samples, model = Samples(config, 2), KSDiff(config.model)
    stage = StageTwo(model, 4, 1.0, joint=False)
    values = stage(collate([samples[0], samples[1]]), torch.Generator().manual_seed(0))
    assert values["loss"] == values["diffusion"]
    values["loss"].backward()
    moved = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert moved == {"condition_encoder", "denoiser"}
    trained = {id(parameter) for parameter in stage.parameters_to_train()}
    assert trained == {
        id(p) for module in (model.condition_encoder, model.denoiser) for p in module.parameters()
    }


def test_a_plug_in_network_trains_by_its_config_alone(config):
    fields = {"run_dir": config.training.run_dir, "steps_stage1": 2, "steps_stage2": 2}
    plug_in = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, network="dicnn"),
        training=dataclasses.replace(config.training, **fields),
    )
    model, _ = load_weights(run(plug_in))
    assert len(model.network.names) == 3


def test_the_learning_rate_warms_up_and_falls():
    training = TrainingConfig(warmup=10)
    factors = [learning_rate_factor(step, 100, training) for step in range(1, 101)]
    assert factors[0] == pytest.approx(0.1, rel=0.01)
    assert max(factors) <= 1
    assert factors[-1] == pytest.approx(0.01)
    assert factors[9:] == sorted(factors[9:], reverse=True)
