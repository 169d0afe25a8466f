"""The paper's two training stages as losses. Each forward takes a batch and gives named losses.

A forward may get a part of a batch only; ``generator`` is the whole batch's.
"""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ksdiff.config import Config
from ksdiff.models.ksdiff import KSDiff
from ksdiff.training.augment import Sample
from ksdiff.training.distributed import WHOLE, Part

_LEAST_ERROR = 0.003  # of the band mean: what is as flat as that is noise


class Losses(nn.Module, ABC):
    """What the trainer needs of a module of losses."""

    @abstractmethod
    def parameters_to_train(self) -> list[nn.Parameter]: ...

    @abstractmethod
    def forward(
        self, sample: Sample, generator: torch.Generator, part: Part = WHOLE
    ) -> dict[str, Tensor]:
        """Named losses; "loss" is the one to lower."""


class StageOne(Losses):
    """PLFE1, kernel generator and fusion network: L1(G, H1), the prior seen from the truth."""

    def __init__(self, model: KSDiff, margin: int) -> None:
        super().__init__()
        self.model, self.margin = model, margin

    def parameters_to_train(self) -> list[nn.Parameter]:
        idle = (self.model.condition_encoder, self.model.denoiser)
        skip = {id(parameter) for module in idle for parameter in module.parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in skip]

    def forward(
        self, sample: Sample, generator: torch.Generator, part: Part = WHOLE
    ) -> dict[str, Tensor]:
        prior = self.model.target_prior(sample.inputs, sample.gt)
        fused = self.model(sample.inputs, prior)
        return {"loss": fusion_loss(self.model, fused, sample, self.margin)}


class StageTwo(Losses):
    """PLFE2 and diffusion, jointly with the rest, or (``joint`` false) with the rest frozen.

    E ||z0 - z_theta(z_t, t, c)||_1 + lambda ||G - H2||_1, where H2's prior is sampled from noise
    with all steps unrolled (our choice, after DiffIR: the paper does not say) and z0 comes from
    stage 1's PLFE1, frozen.
    """

    def __init__(
        self, model: KSDiff, margin: int, fusion_weight: float, joint: bool = True
    ) -> None:
        super().__init__()
        self.model, self.margin, self.fusion_weight = model, margin, fusion_weight
        self.joint = joint

    def parameters_to_train(self) -> list[nn.Parameter]:
        if not self.joint:
            alone = (self.model.condition_encoder, self.model.denoiser)
            return [parameter for module in alone for parameter in module.parameters()]
        skip = {id(parameter) for parameter in self.model.target_encoder.parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in skip]

    def forward(
        self, sample: Sample, generator: torch.Generator, part: Part = WHOLE
    ) -> dict[str, Tensor]:
        model = self.model
        with torch.no_grad():
            target = model.target_prior(sample.inputs, sample.gt)
        condition = model.condition(sample.inputs)
        steps, count = model.config.diffusion.steps, part.parts * len(target)
        t = part.rows(torch.randint(1, steps + 1, (count,), generator=generator)).to(target.device)
        shape = (count, *target.shape[1:])
        noise, start = (
            part.rows(torch.randn(shape, generator=generator)).to(target) for _ in range(2)
        )
        diffusion = model.diffusion_loss(target, noise, t, condition)
        with torch.set_grad_enabled(self.joint and torch.is_grad_enabled()):
            prior = model.sample_prior(condition, start, steps)
            fusion = fusion_loss(model, model(sample.inputs, prior), sample, self.margin)
        return {
            "loss": diffusion + self.fusion_weight * fusion if self.joint else diffusion,
            "diffusion": diffusion.detach(),
            "fusion": fusion.detach(),
            "prior_error": F.l1_loss(prior, target).detach(),
        }


def stage_losses(model: KSDiff, config: Config, stage: int) -> Losses:
    margin, training = config.data.margin, config.training
    if stage == 1:
        return StageOne(model, margin)
    return StageTwo(model, margin, training.fusion_weight, training.joint)


def fusion_loss(model: KSDiff, fused: Tensor, sample: Sample, margin: int) -> Tensor:
    """`l1_within`; for any bands, each sample's mean absolute error and root mean square, beside
    those of the MS image merely interpolated: scenes of little contrast count as much as others."""
    if not model.any_bands:
        return l1_within(fused, sample.gt, margin)
    inner = (..., slice(margin, -margin), slice(margin, -margin))
    errors = (fused - sample.gt)[inner], (sample.inputs.lms - sample.gt)[inner]
    mean, mean_before = (error.abs().mean((1, 2, 3)) for error in errors)
    # Indexes are of squares, which the mean alone leaves short of strong detail.
    root, root_before = (error.square().mean((1, 2, 3)).sqrt() for error in errors)
    shares = mean / (mean_before + _LEAST_ERROR) + root / (root_before + _LEAST_ERROR)
    return shares.mean() / 2


def l1_within(fused: Tensor, gt: Tensor, margin: int) -> Tensor:
    """Mean absolute error of images [B, C, H, W], ``margin`` pixels at the rim left out."""
    inner = (..., slice(margin, -margin or None), slice(margin, -margin or None))
    return F.l1_loss(fused[inner], gt[inner])
