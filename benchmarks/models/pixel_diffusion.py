"""The controlled baseline: diffusion in pixel space, on the same inputs as KSDiff.

A conditional U-Net (`diffusers.UNet2DModel`) predicts the clean residual x0 of HRMS - lms from its
noisy state, PAN and lms: the plainest form of published models (PanDiff, DDIF, SSDiff), with what
is known to help samplers of few steps: x0 prediction, a cosine schedule that ends in pure noise,
trailing time steps (Lin et al. 2024).

    python -m benchmarks.models.pixel_diffusion CONFIG.yaml [--resume]

trains it with KSDiff's trainer, data and loss; CONFIG is one of benchmarks/models/configs/pixel-*.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
import typer
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, UNet2DModel
from safetensors.torch import load_model
from torch import Tensor, nn

from ksdiff.config import Config, load_config
from ksdiff.images.inputs import FusionInputs
from ksdiff.training.augment import Sample, collate
from ksdiff.training.distributed import WHOLE, Part
from ksdiff.training.samples import Samples
from ksdiff.training.stages import Losses, l1_within
from ksdiff.training.trainer import Recipe, run

TRAIN_STEPS = 1000
_CALIBRATION = 64  # samples
_NOISE = {
    "num_train_timesteps": TRAIN_STEPS,
    "beta_schedule": "squaredcos_cap_v2",
    "prediction_type": "sample",
    "timestep_spacing": "trailing",
}


_ddpm = partial(DDPMScheduler, **_NOISE, clip_sample=False)
_ddim = partial(DDIMScheduler, **_NOISE, clip_sample=False, set_alpha_to_one=True)
_dpm_solver = partial(DPMSolverMultistepScheduler, **_NOISE, algorithm_type="dpmsolver++")
# By name, a scheduler of diffusers and the network evaluations it spends.
SAMPLERS: dict[str, tuple[Callable[[], object], int]] = {
    "DDPM-1000": (_ddpm, TRAIN_STEPS),
    **{f"DDIM-{steps}": (_ddim, steps) for steps in (100, 50, 25, 10, 4, 1)},
    **{f"DPM-Solver++-{steps}": (_dpm_solver, steps) for steps in (25, 10, 4)},
}


class PixelDiffusion(nn.Module):
    """x0 [B, C, H, W] of the residual, in units of each band's contrast times ``scale``.

    ``widths`` and ``layers`` are those of the U-Net; ``patch`` folds patches of the PAN grid into
    channels first, as KSDiff's network does with 2; ``attention`` puts self-attention into the
    lowest level, ``scale`` makes the residual's variance about one.

    H and W are multiples of ``patch * 2 ** (len(widths) - 1)``.
    """

    samplers = SAMPLERS

    def __init__(
        self,
        bands: int,
        widths: tuple[int, ...] = (16, 32, 64),
        layers: int = 1,
        patch: int = 2,
        attention: bool = False,
    ) -> None:
        super().__init__()
        self.patch = patch
        down, up = ["DownBlock2D"] * len(widths), ["UpBlock2D"] * len(widths)
        if attention:
            down[-1], up[0] = "AttnDownBlock2D", "AttnUpBlock2D"
        self.unet = UNet2DModel(
            in_channels=patch**2 * (2 * bands + 2),
            out_channels=patch**2 * bands,
            block_out_channels=widths,
            layers_per_block=layers,
            down_block_types=tuple(down),
            up_block_types=tuple(up),
            add_attention=attention,
            norm_num_groups=8,
        )
        self.register_buffer("scale", torch.ones(()))

    def forward(self, noisy: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """x0 from ``noisy`` [B, C, H, W] at times ``t`` [B] and ``condition`` [B, C + 2, H, W]."""
        x = F.pixel_unshuffle(torch.cat((noisy, condition), 1), self.patch)
        x = x.contiguous(memory_format=torch.channels_last)
        return F.pixel_shuffle(self.unet(x, t, return_dict=False)[0], self.patch)

    @torch.no_grad()
    def calibrate(self, inputs: FusionInputs, gt: Tensor) -> None:
        """Choose ``scale`` from samples, so that their residuals have unit variance."""
        residual = (gt - inputs.lms) / inputs.contrast[..., None, None]
        self.scale.copy_(residual.square().mean().sqrt())

    def sample(
        self,
        inputs: FusionInputs,
        sampler: str,
        noise: torch.Generator | None = None,
        network: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Fused [B, C, H, W] in the units of ``lms``; ``network`` stands in for ``self`` compiled.

        ``noise`` is a generator on the CPU.
        """
        network = network or self
        make, evaluations = SAMPLERS[sampler]
        scheduler = make()
        scheduler.set_timesteps(evaluations)
        given, unit = condition(inputs), self.unit(inputs)
        x = torch.randn(inputs.lms.shape, generator=noise).to(inputs.lms)
        extra = {} if isinstance(scheduler, DDIMScheduler) else {"generator": noise}
        for t in scheduler.timesteps.tolist():
            x0 = network(x, torch.full((len(x),), t, device=x.device), given)
            x = scheduler.step(x0, t, x, return_dict=False, **extra)[0]
        return inputs.lms + unit * x

    def unit(self, inputs: FusionInputs) -> Tensor:
        """[B, C, 1, 1]: one unit of x0 in the units of ``lms``."""
        return self.scale * inputs.contrast[..., None, None]


def condition(inputs: FusionInputs) -> Tensor:
    """[B, C + 2, H, W]: centred lms, PAN and PAN's detail, what KSDiff's network sees."""
    detail = inputs.pan - inputs.pan_low.mean(1, keepdim=True)
    return torch.cat((inputs.lms - 1, inputs.pan, detail), 1)


class PixelLoss(Losses):
    """L1(G, H) at random times: KSDiff's own loss, on the one-step estimate of the truth."""

    def __init__(self, model: PixelDiffusion, margin: int) -> None:
        super().__init__()
        self.model, self.margin, self.schedule = model, margin, _ddpm()

    def parameters_to_train(self) -> list[nn.Parameter]:
        return list(self.parameters())

    def forward(
        self, sample: Sample, generator: torch.Generator, part: Part = WHOLE
    ) -> dict[str, Tensor]:
        model, inputs, gt = self.model, sample.inputs, sample.gt
        unit = model.unit(inputs)
        x0 = (gt - inputs.lms) / unit
        count = part.parts * len(gt)
        t = part.rows(torch.randint(TRAIN_STEPS, (count,), generator=generator)).to(gt.device)
        epsilon = part.rows(torch.randn(count, *gt.shape[1:], generator=generator)).to(gt)
        noisy = self.schedule.add_noise(x0, epsilon, t)
        fused = inputs.lms + unit * model(noisy, t, condition(inputs))
        return {"loss": l1_within(fused, gt, self.margin)}


def build(config: Config) -> PixelDiffusion:
    """The network to train, its residuals of unit variance on the first samples."""
    network = PixelDiffusion(config.model.bands)
    samples = Samples(config, _CALIBRATION)
    few = collate([samples[index] for index in range(_CALIBRATION)])
    network.calibrate(few.inputs, few.gt)
    return network


RECIPE = Recipe(build, lambda model, config, stage: PixelLoss(model, config.data.margin))


def load(weights: Path, config: Config) -> PixelDiffusion:
    network = PixelDiffusion(config.model.bands)
    load_model(network, weights)
    return network.eval()


def main(config: Path, resume: bool = False) -> None:
    """Train, or go on from the checkpoint."""
    print(run(load_config(config), "1", resume, RECIPE))


if __name__ == "__main__":
    typer.run(main)
