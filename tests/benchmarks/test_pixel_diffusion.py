"""The pixel-space baseline samples what its network predicts, and its training can be resumed."""

import dataclasses

import pytest
import torch

pytest.importorskip("diffusers", reason="the baseline's schedulers; pip install '.[test]'")

from benchmarks.models import train as training
from benchmarks.models.pixel_diffusion import SAMPLERS, PixelDiffusion
from benchmarks.models.train import (
    BaselineConfig,
    load_baseline,
    load_baseline_config,
    train,
)
from ksdiff.config import Config, DataConfig, TrainingConfig, load_config, save_config
from ksdiff.errors import KSDiffError
from tests.support import PAN_GRID
from tests.support.models import random_inputs, small_config


@pytest.fixture
def network() -> PixelDiffusion:
    torch.manual_seed(0)
    return PixelDiffusion(4, widths=(8, 16), layers=1).eval()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_whose_network_knows_the_truth_gives_it_after_the_evaluations_it_names(
    network, sampler
):
    inputs = random_inputs(1, 4, 16, 16)
    truth = torch.rand(1, 4, 16, 16)
    network.scale.fill_(0.7)
    x0 = (truth - inputs.lms) / (0.7 * inputs.contrast[..., None, None])
    times = []

    def oracle(noisy, t, condition):
        times.append(t.item())
        return x0

    noise = torch.Generator().manual_seed(1)
    fused = network.sample(inputs, sampler, noise, oracle)
    torch.testing.assert_close(fused, truth, rtol=0, atol=1e-4)
    assert len(times) == SAMPLERS[sampler].evaluations
    assert times[0] == 999 and times == sorted(times, reverse=True)


@pytest.mark.parametrize("sampler", ["DDPM-1000", "DDIM-4", "DPM-Solver++-4"])
def test_the_same_seed_gives_the_same_image(network, sampler):
    inputs = random_inputs(1, 4, 16, 16)
    cheap = lambda noisy, t, condition: 0.5 * noisy  # noqa: E731
    results = [
        network.sample(inputs, sampler, torch.Generator().manual_seed(seed), cheap)
        for seed in (3, 3, 4)
    ]
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_calibration_makes_the_residual_unit_variance_and_the_loss_reaches_every_weight(network):
    inputs = random_inputs(2, 4, 16, 16)
    gt = torch.rand(2, 4, 16, 16)
    network.calibrate(inputs, gt)
    residual = (gt - inputs.lms) / (network.scale * inputs.contrast[..., None, None])
    assert residual.square().mean().item() == pytest.approx(1, abs=1e-5)
    network.loss(inputs, gt, 2, torch.Generator().manual_seed(0)).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.fixture
def config(scene, write, tmp_path) -> BaselineConfig:
    """Four steps on one procedural scene."""
    pan, ms, gt = scene
    write("a_pan", pan)
    write("a_ms", ms, PAN_GRID @ PAN_GRID.translation(0.5, 0.5) @ PAN_GRID.scale(4, 4))
    write("a_gt", gt)
    base = Config(
        model=small_config(),
        data=DataConfig(scenes=str(tmp_path), validation="", crop=32, margin=4),
        training=TrainingConfig(batch=2, warmup=1),
    )
    save_config(base, tmp_path / "base.yaml")
    return BaselineConfig(
        method="pixel-diffusion",
        base=str(tmp_path / "base.yaml"),
        run_dir=str(tmp_path / "run"),
        steps=4,
        learning_rate=1e-3,
        network={"widths": [8, 16]},
    )


def test_a_resumed_training_ends_where_an_uninterrupted_one_does(config, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_CHECKPOINT_EVERY", 2)
    whole, _ = load_baseline(train(config))
    stopped = BaselineConfig(**{**vars(config), "run_dir": str(tmp_path / "stopped")})
    factor = training.learning_rate_factor

    def killed(step, *rest):
        if step == 4:
            raise KeyboardInterrupt
        return factor(step, *rest)

    monkeypatch.setattr(training, "learning_rate_factor", killed)
    with pytest.raises(KeyboardInterrupt):
        train(stopped)
    monkeypatch.setattr(training, "learning_rate_factor", factor)
    with pytest.raises(KSDiffError, match="give --resume"):
        train(stopped)
    resumed, _ = load_baseline(train(stopped, resume=True))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_the_configs_that_come_along_can_be_read_and_built():
    paths = sorted(training.CONFIGS.glob("*.yaml"))
    assert paths
    for path in paths:
        with torch.device("meta"):
            network = load_baseline_config(path).build()
        assert sum(parameter.numel() for parameter in network.parameters()) > 1000


@pytest.mark.parametrize("bands", [4, 8])
def test_feature_modulation_is_trained_as_ksdiff_is(bands):
    ours = load_config(f"ksdiff-s-{bands}band")
    other = load_config(training.CONFIGS / "ksdiff" / f"features-s-{bands}band.yaml")
    own = dict.fromkeys(("run_dir", "steps_stage1", "steps_stage2"))
    assert other.data == ours.data
    assert vars(other.training) | own == vars(ours.training) | own
    assert other.training.run_dir != ours.training.run_dir
    assert other.model.kernels == dataclasses.replace(ours.model.kernels, generator="features")
    assert (other.model.widths, other.model.depths) == (ours.model.widths, ours.model.depths)


@pytest.mark.parametrize(
    "text, problem",
    [
        ("method: gan", "method: expected one of"),
        ("method: one-pass", "missing"),
        ("colour: red", "the keys"),
        ("[", "not readable"),
    ],
)
def test_a_bad_config_is_refused_with_its_name(tmp_path, text, problem):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(KSDiffError, match=f"bad.yaml.*{problem}"):
        load_baseline_config(path)
