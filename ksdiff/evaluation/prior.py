"""Report on the prior: distance from the sampled to the true one, and its effect on ERGAS."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ksdiff.errors import KSDiffError
from ksdiff.images.inputs import FusionInputs
from ksdiff.io.outputs import atomic
from ksdiff.metrics import ergas
from ksdiff.models.ksdiff import KSDiff
from ksdiff.models.weights import load_weights
from ksdiff.runtime import machine_header
from ksdiff.training.validation import Scene, folder_scenes

_SIDE = 128  # PAN pixels of a window, at most
_LEAST_SIDE = 64
_STEPS = (1, 2, 4, 8)
_SEED = 0


class PriorReport(NamedTuple):
    """Of windows of scenes, each with a prior of its own."""

    scenes: int
    windows: int
    # ||z - z0|| / spread of z0 over the windows, by the number of sampling steps: 0 is perfect,
    # 1 no better than one mean prior for all.
    distance: dict[int, float]
    # Mean ERGAS with: the prior of the truth (z0), another scene's (of a single scene, another
    # window's), the sampled one, another scene's (shuffled), the mean of all (mean); and with
    # another scene's kernels, made of its sampled prior and of its local tokens (kernels).
    ergas: dict[str, float]

    @property
    def shuffling(self) -> float:
        """What another scene's prior adds to ERGAS, relative."""
        return self.ergas["shuffled"] / self.ergas["sampled"] - 1

    def markdown(self) -> str:
        steps = " | ".join(f"{count} steps" for count in self.distance)
        distances = " | ".join(f"{value:.3f}" for value in self.distance.values())
        errors = " | ".join(f"{value:.4f}" for value in self.ergas.values())
        rule = "|---" * (len(self.distance) + 1) + "|"
        return "\n".join(
            (
                f"{self.windows} windows of {self.scenes} scenes",
                "",
                f"| | {steps} |",
                rule,
                f"| distance to z0, in units of its spread | {distances} |",
                "",
                f"| prior | {' | '.join(self.ergas)} |",
                "|---" * (len(self.ergas) + 1) + "|",
                f"| ERGAS | {errors} |",
                "",
                f"Another {'scene' if self.scenes > 1 else 'window'}'s prior changes ERGAS by "
                f"{100 * self.shuffling:+.2f} %.",
                "",
            )
        )

    def as_dict(self) -> dict:
        return self._asdict() | {"shuffling": self.shuffling}


def inspect_weights(name_or_path: str | Path, folder: str | Path) -> PriorReport:
    """:func:`inspect_prior` of saved weights on the scenes with truth of a folder."""
    model, config = load_weights(name_or_path)
    return inspect_prior(model, folder_scenes(Path(folder), config.model))


def write_json(report: PriorReport, weights: str, path: str | Path) -> None:
    values = {"header": machine_header(), "weights": weights} | report.as_dict()
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1) + "\n")


@torch.no_grad()
def inspect_prior(model: KSDiff, scenes: list[Scene], places: Sequence[str] = ()) -> PriorReport:
    """Judge the prior of ``model`` (in evaluation mode) on scenes with truth.

    Args:
        places: of every scene; scenes of one place do not serve each other as another scene.

    Raises:
        KSDiffError: a model without a diffused prior, fewer than two windows.
    """
    if model.config.prior.source != "diffusion":
        raise KSDiffError("prior: this model has none (model.prior.source)")
    windows, truths, owners = _windows(scenes, whole=model.any_bands and len(scenes) > 1)
    target = torch.cat([model.target_prior(*one) for one in zip(windows, truths, strict=True)])
    observed = [model.observed(window) for window in windows]
    condition, tokens = (torch.cat(parts) for parts in zip(*observed, strict=True))
    spread = _length(target - target.mean(0)).mean()
    generator = torch.Generator().manual_seed(_SEED)
    noise = torch.randn(target.shape, generator=generator).to(target)
    steps = [count for count in _STEPS if count <= model.config.diffusion.steps]
    samples = {count: model.sample_prior(condition, noise, count) for count in steps}
    sampled = model.sample_prior(condition, noise)
    other = _other_scene([places[owner] for owner in owners] if places else owners)
    made_of = {
        "truth": (target, tokens),
        "another's truth": (target[other], tokens),
        "sampled": (sampled, tokens),
        "shuffled": (sampled[other], tokens),
        "mean": (sampled.mean(0).expand_as(sampled), tokens),
        "kernels": (sampled[other], tokens[other]),
    }
    errors = {}
    for name, (prior, local) in made_of.items():
        found = []
        for place, (window, gt) in enumerate(zip(windows, truths, strict=True)):
            part = slice(place, place + 1)
            fused = model.fuse(window, model.kernels(prior[part], local[part], window))
            found.append(ergas(fused, gt, scenes[owners[place]].prepared.pair.ratio))
        errors[name] = torch.stack(found).mean().item()
    distance = {
        count: (_length(sample - target).mean() / spread).item()
        for count, sample in samples.items()
    }
    return PriorReport(len(set(owners)), len(windows), distance, errors)


def _windows(
    scenes: list[Scene], whole: bool
) -> tuple[list[FusionInputs], list[Tensor], list[int]]:
    """Equal windows from the corners of every scene that is large enough, or the scenes as they
    are; whose they are."""
    sides = [min(scene.gt.shape[-2:]) for scene in scenes]
    halves = [side // 2 // 32 * 32 for side in sides if side >= _LEAST_SIDE]
    side = min([_SIDE, *(max(half, _LEAST_SIDE) for half in halves)])
    windows, truths, owners = [], [], []
    for owner, scene in enumerate(scenes):
        for window in _whole(scene.gt) if whole else _corners(scene.gt, side):
            windows.append(scene.inputs.cropped(window))
            truths.append(scene.gt[window])
            owners.append(owner)
    if len(truths) < 2:
        raise KSDiffError(
            f"prior: expected scenes with truth that give two windows of {_LEAST_SIDE} x "
            f"{_LEAST_SIDE} PAN pixels, with the model's bands and ratio; found {len(truths)}"
        )
    return windows, truths, owners


def _whole(image: Tensor) -> list[tuple]:
    """As much as a network takes."""
    height, width = (length // 8 * 8 for length in image.shape[-2:])
    return [(..., slice(height), slice(width))] if min(height, width) >= _LEAST_SIDE else []


def _corners(image: Tensor, side: int) -> list[tuple]:
    height, width = image.shape[-2:]
    if min(height, width) < _LEAST_SIDE:
        return []
    corners = {
        (top, left)
        for top in (0, (height - side) // 32 * 32)
        for left in (0, (width - side) // 32 * 32)
    }
    return [
        (..., slice(top, top + side), slice(left, left + side)) for top, left in sorted(corners)
    ]


def _other_scene(owners: Sequence[int | str]) -> list[int]:
    """For every window one of another scene; of the same where there is a single scene."""
    chosen = []
    for index, owner in enumerate(owners):
        others = [place for place, other in enumerate(owners) if other != owner]
        others = others or [place for place in range(len(owners)) if place != index]
        chosen.append(others[index % len(others)])
    return chosen


def _length(z: Tensor) -> Tensor:
    return z.flatten(1).norm(dim=1)
