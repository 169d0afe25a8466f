import dataclasses

import pytest
import torch

from ksdiff.config import (
    Config,
    DiffusionConfig,
    KernelConfig,
    ModelConfig,
    PriorConfig,
)
from ksdiff.errors import KSDiffError
from ksdiff.models.backbones import FusionNet
from ksdiff.models.encoder import PLFE
from ksdiff.models.kernels import ModulatedConv2d, layer_shape
from ksdiff.models.ksdiff import KSDiff, matched_pan
from ksdiff.models.layers import PatchConv2d
from ksdiff.models.modulate import modulate
from ksdiff.models.variants import ConcatEncoder, FeatureModulation
from ksdiff.models.weights import load_weights, save_weights
from tests.support.models import BASE, CHOICES, random_inputs, small_config


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_learns_and_fuses_a_scene_with_one_set_of_kernels(choice, inputs, tmp_path):
    torch.manual_seed(0)
    config = small_config(**CHOICES[choice])
    model = KSDiff(config)
    prior = model.target_prior(inputs, inputs.lms)
    condition, noise = model.condition(inputs), torch.randn(prior.shape)
    sampled = model.sample_prior(condition, noise)
    assert sampled.shape == prior.shape
    loss = model.diffusion_loss(prior, noise, torch.tensor([1, 4]), condition)
    for z in (prior, sampled):
        loss = loss + (model(inputs, z) - inputs.lms.roll(1, -1)).square().mean()
    loss.backward()
    assert loss.isfinite()
    assert any(parameter.grad is not None for parameter in model.network.parameters())
    save_weights(tmp_path / "w.safetensors", model, Config(model=config))
    again, _ = load_weights(tmp_path / "w.safetensors")
    window = random_inputs(1, 4, 40, 32)
    fused = [
        each.eval().fuse(window, each.estimate_kernels(inputs, torch.Generator().manual_seed(0)))
        for each in (model, again)
    ]
    assert fused[0].shape == (1, 4, 40, 32)
    assert torch.equal(*fused)


def test_without_a_prior_no_image_decides_the_core(inputs):
    model = KSDiff(small_config(**CHOICES["no prior"]))
    other = random_inputs(2, 4, 32, 48, seed=1)
    assert torch.equal(model.target_prior(inputs, inputs.lms), model.target_prior(other, other.lms))
    names = {name.split(".")[0] for name, _ in model.named_parameters()}
    assert not names & {"target_encoder", "condition_encoder", "denoiser"}


def test_plain_kernels_make_the_network_itself(inputs):
    model = KSDiff(small_config(**CHOICES["plain fusionnet"]))
    fused = model(inputs, model.target_prior(inputs, inputs.lms))
    assert torch.equal(fused, model.network.module(matched_pan(inputs), inputs.lms))


def test_feature_modulation_scales_and_shifts_what_the_base_kernels_give():
    torch.manual_seed(0)
    layers = [ModulatedConv2d(6, 6, 7, groups=6), ModulatedConv2d(6, 12, 1)]
    shapes = [layer_shape(layer, (4, 4, 2, 2)) for layer in layers]
    generator = FeatureModulation(8, 5, shapes, KernelConfig())
    modulations = generator(torch.randn(2, 4, 8), torch.zeros(2, 1, 1), [])
    x = torch.randn(2, 6, 9, 11)
    for layer, modulation in zip(layers, modulations, strict=True):
        plain = layer(x, layer.weight[None])
        assert (modulation[:, 0] - 1).abs().max() < 0.5 and modulation[:, 1].abs().max() < 0.5
        scale, shift = (modulation[:, row, :, None, None] for row in (0, 1))
        torch.testing.assert_close(layer(x, modulation), scale * plain + shift)
        assert not torch.allclose(*modulation)


def test_the_concat_encoder_is_as_large_as_plfe():
    shape = {"width": 32, "levels": 3, "tokens": 16, "out_channels": 32}
    stems = PatchConv2d(6, 32, 4), PatchConv2d(4, 32, 4)
    encoders = PLFE(*stems, heads=4, **shape), ConcatEncoder(10, patch=4, **shape)
    sizes = [sum(p.numel() for p in encoder.parameters()) for encoder in encoders]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.1)


def test_an_mlp_of_equal_capacity_has_many_times_the_parameters():
    sizes = [
        sum(
            parameter.numel()
            for parameter in KSDiff(
                ModelConfig(network="fusionnet", kernels=KernelConfig(generator=generator))
            ).generator.parameters()
        )
        for generator in ("tucker", "mlp")
    ]
    assert sizes[1] > 10 * sizes[0]


def test_a_noise_predictor_that_is_right_finds_the_clean_prior(monkeypatch):
    torch.manual_seed(0)
    model = KSDiff(small_config(**CHOICES["noise"]))
    z0 = torch.nn.functional.layer_norm(torch.randn(3, 4, 16), (16,))
    noise, t = torch.randn(z0.shape), torch.tensor([1, 2, 4])
    monkeypatch.setattr(model.denoiser, "forward", lambda z, t, c: noise)
    noisy = model.schedule.add_noise(z0, noise, t)
    torch.testing.assert_close(model.denoise(noisy, t, z0), z0, rtol=1e-3, atol=1e-3)
    assert model.diffusion_loss(z0, noise, t, z0) == 0


def test_chosen_layers_of_a_plug_in_are_modulated():
    kernels = dataclasses.replace(BASE.kernels, layers=("blocks.*",))
    model = KSDiff(small_config(network="fusionnet", kernels=kernels))
    assert len(model.network.names) == 8


def test_a_network_of_ones_own_takes_the_place_of_the_plug_in(inputs):
    network = modulate(FusionNet(4, width=8, blocks=1))
    model = KSDiff(BASE, network)
    assert model.network is network
    assert model(inputs, model.target_prior(inputs, inputs.lms)).shape == (2, 4, 32, 48)


def test_pan_meets_the_bands_in_their_units(inputs):
    expected = (1 + inputs.contrast[..., None, None] * inputs.pan).mean(1, keepdim=True)
    torch.testing.assert_close(matched_pan(inputs), expected)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ModelConfig(network="unet"), "model.network: expected one of pannext-u, dicnn"),
        (ModelConfig(prior=PriorConfig(encoder="cat")), "model.prior.encoder: .* got 'cat'"),
        (
            ModelConfig(prior=PriorConfig(source="x")),
            "model.prior.source: .* diffusion, direct, none",
        ),
        (ModelConfig(diffusion=DiffusionConfig(predict="v")), "model.diffusion.predict"),
        (ModelConfig(kernels=KernelConfig(generator="svd")), "model.kernels.generator"),
        (
            ModelConfig(network="dicnn", kernels=KernelConfig(generator="features")),
            "model.kernels.generator: features works in the network pannext-u",
        ),
    ],
)
def test_an_unknown_choice_is_named(config, message):
    with pytest.raises(KSDiffError, match=message):
        KSDiff(config)
