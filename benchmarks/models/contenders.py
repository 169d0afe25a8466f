"""Who is compared: every way from FusionInputs to a fused image, eager or compiled."""

import functools
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.models.names import KSDIFF, LARGE, NO_PRIOR, SMALL
from benchmarks.models.one_pass import OnePass
from benchmarks.models.pixel_diffusion import SAMPLERS, PixelDiffusion
from benchmarks.models.train import CONFIGS, load_baseline_config
from ksdiff.inputs import FusionInputs
from ksdiff.models.backbones import BACKBONES
from ksdiff.models.ksdiff import Kernels, KSDiff
from ksdiff.models.weights import load_weights

WEIGHTS, BANDS = "ksdiff-s-8band", 8
# As in the issue of what published pixel-space diffusions use: 32-64-128-256, two blocks a level.
_LARGE = {"widths": (32, 64, 128, 256), "layers": 2, "patch": 1, "attention": True}


@dataclass(frozen=True)
class Contender:
    """``run`` fuses normalised inputs; ``evaluations`` of a network at PAN's size are in it."""

    name: str
    family: str  # contenders of one family share their weights
    module: nn.Module
    evaluations: int
    run: Callable[[FusionInputs], Tensor]


def contenders(device: str, compiled: bool = False, bf16: bool = False) -> list[Contender]:
    """All of them, in evaluation mode; their weights do not matter to time.

    ``compiled``: torch.compile with fixed shapes, with CUDA graphs on a GPU. ``bf16``: autocast.
    """
    mode = "reduce-overhead" if device == "cuda" else None
    wrap = (
        functools.partial(torch.compile, dynamic=False, mode=mode)
        if compiled
        else lambda function: function
    )
    cast = (lambda: torch.autocast(device, torch.bfloat16)) if bf16 else nullcontext

    def under(function):
        def run(*arguments):
            with cast():
                return function(*arguments)

        return run

    model = load_weights(WEIGHTS)[0].to(device).requires_grad_(False)
    names = (KSDIFF, NO_PRIOR)
    found = [
        Contender(name, KSDIFF, model, 1, under(path))
        for name, path in zip(names, _paths(model, wrap), strict=True)
    ]
    for name in BACKBONES:
        network = _ready(OnePass(BANDS, name), device)
        found.append(Contender(name, name, network, 1, under(wrap(network))))
    matched = load_baseline_config(CONFIGS / "pixel-s-8band.yaml").network
    for name, options in ((SMALL, matched), (LARGE, _LARGE)):
        network = _ready(PixelDiffusion(BANDS, **options), device)
        found += _samplers(name, network, under(wrap(network)))
    return found


def _ready(network: nn.Module, device: str) -> nn.Module:
    network = network.to(device, memory_format=torch.channels_last)
    return network.eval().requires_grad_(False)


def _samplers(family: str, network: PixelDiffusion, evaluate: Callable) -> list[Contender]:
    def run(inputs: FusionInputs, sampler: str) -> Tensor:
        return network.sample(inputs, sampler, torch.Generator().manual_seed(0), evaluate)

    return [
        Contender(
            f"{family}, {sampler}",
            family,
            network,
            SAMPLERS[sampler].evaluations,
            functools.partial(run, sampler=sampler),
        )
        for sampler in SAMPLERS
    ]


def _paths(model: KSDiff, wrap: Callable) -> tuple[Callable, Callable]:
    """Fuse with a prior for every image; and with the base kernels and the head's own basis."""
    fuse = wrap(model.fuse)

    def prior(inputs: FusionInputs, noise: Tensor) -> Kernels:
        z = model.sample_prior(model.condition(inputs), noise)
        return model.kernels(z, model.local_tokens(inputs))

    prior = wrap(prior)

    def run(inputs: FusionInputs) -> Tensor:
        return fuse(inputs, prior(inputs, _noise(model, inputs)))

    def run_without(inputs: FusionInputs) -> Tensor:
        layers = [layer.weight[None] for layer in model.network.modulated_layers()]
        basis = model.injection.basis_kernels(torch.zeros_like(_noise(model, inputs)))
        return fuse(inputs, Kernels(layers, basis))

    return run, run_without


def parts(model: KSDiff, inputs: FusionInputs) -> dict[str, Callable[[], object]]:
    """The stages of KSDiff's path, each on tensors that are ready."""
    noise = _noise(model, inputs)
    condition, tokens = model.condition(inputs), model.local_tokens(inputs)
    z = model.sample_prior(condition, noise)
    kernels = model.kernels(z, tokens)
    return {
        "condition encoder": lambda: model.condition(inputs),
        "latent steps": lambda: model.sample_prior(condition, noise),
        "kernel generation": lambda: model.kernels(z, model.local_tokens(inputs)),
        "network": lambda: model.fuse(inputs, kernels),
    }


def _noise(model: KSDiff, inputs: FusionInputs) -> Tensor:
    prior = model.config.prior
    return torch.randn(len(inputs[0]), prior.tokens, prior.channels, device=inputs[0].device)
