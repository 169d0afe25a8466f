"""Scores of every method and sampler on the validation scenes, from the very same inputs."""

import functools
from pathlib import Path

import torch

from benchmarks.models.contenders import WEIGHTS
from benchmarks.models.names import KSDIFF, NO_PRIOR, SMALL
from benchmarks.models.pixel_diffusion import SAMPLERS, PixelDiffusion
from benchmarks.models.train import (
    CONFIGS,
    BaselineConfig,
    load_baseline,
    load_baseline_config,
)
from ksdiff.errors import KSDiffError
from ksdiff.inputs import FusionInputs
from ksdiff.metrics import reduced_indexes
from ksdiff.models.ksdiff import Kernels, KSDiff
from ksdiff.models.weights import load_weights
from ksdiff.training.validation import Scene, validation_scenes

SEEDS = (0, 1, 2)
_INDEXES = ("SAM", "ERGAS", "Q2n")
_BORDER, _DATA_RANGE = 21, 2047.0
_MANY = 100  # evaluations beyond which one seed has to do


def quality(device: str, budget: float) -> list[dict]:
    """SAM, ERGAS and Q2n of all scenes of 8 bands with truth; a row is one scene and one seed.

    Weights of the baselines are looked for where their configs say. PAN is taken as it lies: no
    method registers it here.

    Raises:
        KSDiffError: no scenes, or baseline weights that are not trained yet.
    """
    model, config = load_weights(WEIGHTS)
    scenes = validation_scenes(config)
    if not scenes:
        raise KSDiffError(
            "no validation scenes of 8 bands with truth; name their folder with KSDIFF_DATA=DIR"
        )
    trained = {"fusionnet": _trained("fusionnet-8band"), SMALL: _trained("pixel-s-8band")}
    networks = {name: network for name, (network, _) in trained.items()}
    steps = {name: baseline.steps for name, (_, baseline) in trained.items()}
    steps[KSDIFF] = config.training.steps_stage1 + config.training.steps_stage2
    rows = []
    for scene in scenes:
        for name, seed, fuse in _fusions(model, networks):
            row = _row(scene, name, seed, fuse(scene.inputs), config.model.ratio)
            family = next((known for known in steps if name.startswith(known)), None)
            rows.append(row | {"trained_steps": steps.get(family)})
    return rows


def _trained(name: str) -> tuple[torch.nn.Module, BaselineConfig]:
    path = CONFIGS / f"{name}.yaml"
    weights = Path(load_baseline_config(path).run_dir) / "weights.safetensors"
    if not weights.is_file():
        raise KSDiffError(
            f"{weights} is not there; python -m benchmarks.models.train {path} makes it"
        )
    return load_baseline(weights)


def _fusions(model: KSDiff, networks: dict[str, torch.nn.Module]):
    """(name, seed, call) of everything that is scored."""
    yield "lms", 0, lambda inputs: inputs.lms
    for seed in SEEDS:
        for steps in range(1, model.config.diffusion.steps + 1):
            yield f"{KSDIFF}, {steps} latent steps", seed, _ksdiff(model, seed, steps)
        yield KSDIFF, seed, _ksdiff(model, seed, None)
    yield NO_PRIOR, 0, lambda inputs: model.fuse(inputs, base_kernels(model))
    for name, network in networks.items():
        if not isinstance(network, PixelDiffusion):
            yield name, 0, network
            continue
        for sampler, (_, evaluations) in SAMPLERS.items():
            for seed in SEEDS[: 1 if evaluations > _MANY else None]:
                noise = torch.Generator().manual_seed(seed)
                yield (
                    f"{name}, {sampler}",
                    seed,
                    functools.partial(network.sample, sampler=sampler, noise=noise),
                )


def _ksdiff(model: KSDiff, seed: int, steps: int | None):
    def fuse(inputs: FusionInputs) -> torch.Tensor:
        noise = torch.Generator().manual_seed(seed)
        return model.fuse(inputs, model.estimate_kernels(inputs, noise, steps))

    return fuse


def base_kernels(model: KSDiff) -> Kernels:
    """Of the trained network with its prior taken away; not what it would be trained without."""
    prior = model.config.prior
    layers = [layer.weight[None] for layer in model.network.modulated_layers()]
    return Kernels(
        layers, model.injection.basis_kernels(torch.zeros(1, prior.tokens, prior.channels))
    )


def _row(scene: Scene, name: str, seed: int, fused: torch.Tensor, ratio: int) -> dict:
    fused, gt = (scene.scale * image for image in (fused, scene.gt))
    indexes = reduced_indexes(fused, gt, ratio, _DATA_RANGE, _BORDER)
    return {
        "scene": scene.name,
        "size": list(gt.shape[-2:]),
        "name": name,
        "seed": seed,
        **{index: indexes[index] for index in _INDEXES},
    }
