import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ksdiff.config import DiffusionConfig, InjectionConfig, ModelConfig
from ksdiff.images.inputs import FusionInputs
from ksdiff.models.ksdiff import KSDiff, _features
from tests.support.models import random_inputs, small_config


def _evaluations(model: KSDiff) -> list[int]:
    """The times t at which the denoiser is asked, as they come."""
    times: list[int] = []
    model.denoiser.register_forward_pre_hook(lambda _, values: times.append(values[1][0].item()))
    return times


def _hpm(inputs: FusionInputs) -> torch.Tensor:
    """MTF-GLP-HPM written out: each band times matched PAN over matched low-passed PAN."""
    contrast = inputs.contrast[..., None, None]
    matched, low = 1 + contrast * inputs.pan, 1 + contrast * inputs.pan_low
    return inputs.lms * matched / low


@pytest.mark.parametrize("mode", ["lowrank", "full", "off"])
def test_untrained_it_is_high_pass_modulation(inputs, mode):
    torch.manual_seed(0)
    model = KSDiff(small_config(injection=InjectionConfig(mode=mode)))
    fused = model.fuse(inputs, model.estimate_kernels(inputs))
    torch.testing.assert_close(fused, _hpm(inputs), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["lowrank", "full", "off"])
def test_every_part_learns_in_its_stage(inputs, mode):
    torch.manual_seed(0)
    model = KSDiff(small_config(injection=InjectionConfig(mode=mode)))
    for parameter in model.network.head.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    prior = model.target_prior(inputs, inputs.lms)
    sampled = model.sample_prior(model.condition(inputs), torch.randn(prior.shape))
    (model(inputs, prior).square().mean() + model(inputs, sampled).square().mean()).backward()
    silent = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert silent == []


@pytest.mark.parametrize("bands", [3, 4, 6, 8])
@pytest.mark.parametrize("ratio", [2, 4])
def test_any_band_count_and_ratio(bands, ratio):
    model = KSDiff(small_config(bands=bands, ratio=ratio))
    inputs = random_inputs(1, bands, 32, 40)
    assert model.fuse(inputs, model.estimate_kernels(inputs)).shape == (1, bands, 32, 40)


def test_one_set_of_kernels_serves_every_window():
    torch.manual_seed(0)
    model = KSDiff(small_config()).eval()
    for parameter in model.network.head.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    whole = random_inputs(1, 4, 96, 160)
    kernels = model.estimate_kernels(whole, torch.Generator().manual_seed(0))
    part = FusionInputs(*(image[..., :128] for image in whole[:3]), whole.contrast)
    together, apart = model.fuse(whole, kernels), model.fuse(part, kernels)
    # Away from the cut the window does not matter.
    torch.testing.assert_close(apart[..., :64], together[..., :64], rtol=1e-3, atol=1e-4)


def test_the_same_seed_gives_the_same_kernels(inputs):
    model = KSDiff(small_config()).eval()
    first, again, other = (
        model.estimate_kernels(inputs, torch.Generator().manual_seed(seed)).layers[0]
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert first.shape[0] == 1
    assert not torch.equal(first, other)


def test_noise_drawn_before_gives_the_kernels_of_its_generator(inputs):
    model = KSDiff(small_config()).eval()
    expected = model.estimate_kernels(inputs, torch.Generator().manual_seed(3))
    noise = model.draw_noise(torch.Generator().manual_seed(3))
    given = model.estimate_kernels(inputs, noise=noise)
    assert all(torch.equal(*pair) for pair in zip(given.layers, expected.layers, strict=True))


def test_the_small_preset_keeps_its_budget():
    model = KSDiff(ModelConfig(bands=8)).eval()
    inputs = random_inputs(1, 8, 256, 256)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.fuse(inputs, model.estimate_kernels(inputs))
    assert sum(parameter.numel() for parameter in model.parameters()) <= 1.5e6
    assert counter.get_total_flops() <= 25e9


def _trained(strength: float, residual_strength: float = 1.0) -> KSDiff:
    torch.manual_seed(0)
    injection = InjectionConfig(strength=strength, residual_strength=residual_strength)
    model = KSDiff(small_config(injection=injection))
    torch.manual_seed(1)
    for parameter in (*model.network.head.parameters(), model.injection.basis):
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def test_strength_leads_from_modulation_to_the_learnt_kernels(inputs):
    models = {strength: _trained(strength).eval() for strength in (0.0, 0.5, 1.0)}
    kernels = {
        strength: model.estimate_kernels(inputs, torch.Generator().manual_seed(0))
        for strength, model in models.items()
    }
    fused = {strength: model.fuse(inputs, kernels[strength]) for strength, model in models.items()}
    residual = models[0.0].network(_features(inputs), kernels[0.0].layers)[:, :4]
    torch.testing.assert_close(fused[0.0], _hpm(inputs) + residual, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(fused[0.5], fused[0.0], atol=1e-3)
    assert not torch.allclose(fused[0.5], fused[1.0], atol=1e-3)


def test_at_no_strength_a_trained_model_is_high_pass_modulation(inputs):
    model = _trained(0.0, 0.0).eval()
    fused = model.fuse(inputs, model.estimate_kernels(inputs))
    torch.testing.assert_close(fused, _hpm(inputs), rtol=1e-4, atol=1e-4)


def test_training_always_learns_at_full_strength(inputs):
    weak, full = _trained(0.0, 0.0).train(), _trained(1.0).train()
    prior = torch.randn(2, 4, 16)
    assert torch.equal(weak(inputs, prior), full(inputs, prior))


def test_an_unknown_injection_mode_is_refused():
    with pytest.raises(ValueError, match=r"injection\.mode: expected one of off, lowrank, full"):
        KSDiff(small_config(injection=InjectionConfig(mode="maybe")))


def test_inference_takes_one_latent_step_unless_told_otherwise(inputs):
    asked = _evaluations(model := KSDiff(small_config()))
    model.estimate_kernels(inputs)
    assert asked == [4]


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_the_config_or_the_caller_says_how_many_latent_steps(inputs, steps):
    config = DiffusionConfig(steps=8, sampling_steps=steps, width=32, depth=1)
    asked = _evaluations(model := KSDiff(small_config(diffusion=config)))
    model.estimate_kernels(inputs)
    assert len(asked) == steps
    model.estimate_kernels(inputs, sampling_steps=3)
    assert len(asked) == steps + 3


def test_condition_and_tokens_together_are_what_they_are_apart(inputs):
    model = KSDiff(small_config())
    condition, tokens = model.observed(inputs)
    torch.testing.assert_close(condition, model.condition(inputs), rtol=0, atol=0)
    torch.testing.assert_close(tokens, model.local_tokens(inputs), rtol=0, atol=0)
