"""The pixel-space baseline samples what its network predicts, and KSDiff's trainer trains it."""

import dataclasses

import pytest
import torch

pytest.importorskip("diffusers", reason="the baseline's schedulers; pip install '.[test]'")

from benchmarks.models import pixel_diffusion
from benchmarks.models.pixel_diffusion import RECIPE, SAMPLERS, PixelDiffusion, PixelLoss, load
from benchmarks.models.quality import CONFIGS
from ksdiff.config import Config, DataConfig, TrainingConfig, load_config
from ksdiff.models.ksdiff import KSDiff
from ksdiff.training import trainer
from ksdiff.training.augment import Sample
from tests.conftest import PAN_GRID
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
    assert len(times) == SAMPLERS[sampler][1]
    assert times[0] == 999 and times == sorted(times, reverse=True)


@pytest.mark.parametrize("sampler", ["DDPM-1000", "DDIM-4", "DPM-Solver++-4"])
def test_the_seed_decides_the_image(network, sampler):
    inputs = random_inputs(1, 4, 16, 16)

    def sampled(seed):
        noise = torch.Generator().manual_seed(seed)
        return network.sample(inputs, sampler, noise, lambda noisy, t, condition: noisy / 2)

    assert torch.equal(sampled(3), sampled(3)) and not torch.equal(sampled(3), sampled(4))


def test_calibration_makes_the_residual_unit_variance_and_the_loss_reaches_every_weight(network):
    inputs = random_inputs(2, 4, 16, 16)
    gt = torch.rand(2, 4, 16, 16)
    network.calibrate(inputs, gt)
    residual = (gt - inputs.lms) / network.unit(inputs)
    assert residual.square().mean().item() == pytest.approx(1, abs=1e-5)
    losses = PixelLoss(network, margin=2)
    losses(Sample(inputs, gt), torch.Generator().manual_seed(0))["loss"].backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.fixture
def config(scene, write, tmp_path, monkeypatch) -> Config:
    """Four steps of a small U-Net on one procedural scene."""
    pan, ms, gt = scene
    write("a_pan", pan)
    write("a_ms", ms, PAN_GRID @ PAN_GRID.translation(0.5, 0.5) @ PAN_GRID.scale(4, 4))
    write("a_gt", gt)
    small = lambda bands: PixelDiffusion(bands, widths=(8, 16))  # noqa: E731
    monkeypatch.setattr(pixel_diffusion, "PixelDiffusion", small)
    monkeypatch.setattr(pixel_diffusion, "_CALIBRATION", 4)
    return Config(
        model=small_config(),
        data=DataConfig(scenes=str(tmp_path), validation="", crop=32, margin=4),
        training=TrainingConfig(
            **{"run_dir": str(tmp_path / "run"), "batch": 2, "warmup": 1, "workers": 0},
            **{"steps_stage1": 4, "steps_stage2": 0, "checkpoint_every": 2, "accelerator": "cpu"},
        ),
    )


def test_ksdiff_s_trainer_writes_weights_that_are_calibrated(config):
    trained = load(trainer.run(config, "1", recipe=RECIPE), config)
    fresh = pixel_diffusion.build(config)
    assert trained.scale == fresh.scale != 1
    last = "unet.conv_out.weight"
    assert not torch.equal(trained.state_dict()[last], fresh.state_dict()[last])


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_baseline_is_trained_on_the_samples_of_ksdiff_by_as_many_steps(path):
    config = load_config(path)
    ours = load_config(f"ksdiff-s-{config.model.bands}band")
    own = dict.fromkeys(("run_dir", "steps_stage1", "steps_stage2", "learning_rate"))
    assert vars(config.training) | own == vars(ours.training) | own
    assert config.training.run_dir == f"runs/{path.stem}"
    steps = [c.training.steps_stage1 + c.training.steps_stage2 for c in (config, ours)]
    assert steps[0] == steps[1]
    validation = {"validation": ours.data.validation}
    assert dataclasses.replace(config.data, **validation) == ours.data
    with torch.device("meta"):
        KSDiff(config.model)


@pytest.mark.parametrize("bands", [4, 8])
def test_feature_modulation_is_trained_as_ksdiff_is(bands):
    ours = load_config(f"ksdiff-s-{bands}band")
    other = load_config(CONFIGS / f"features-s-{bands}band.yaml")
    assert other.model.kernels == dataclasses.replace(ours.model.kernels, generator="features")
    assert (other.model.widths, other.model.depths) == (ours.model.widths, ours.model.depths)
