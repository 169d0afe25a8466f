"""KSDiff put together: prior -> kernels -> one-pass fusion (arXiv 2505.18991)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ksdiff.config import ModelConfig
from ksdiff.inputs import FusionInputs
from ksdiff.models.diffusion import Denoiser, Schedule, ddim_sample
from ksdiff.models.encoder import PLFE
from ksdiff.models.injection import InjectionHead
from ksdiff.models.kernels import KernelGenerator, layer_shape
from ksdiff.models.unet import PanNeXtU


class Kernels(NamedTuple):
    """All that the prior decides for a scene (or a batch of crops)."""

    layers: list[Tensor]  # W1 [B, C_out, C_in / groups, k, k] of every modulated layer
    basis: Tensor | None  # [B, C, R, k, k] of the injection head


class KSDiff(nn.Module):
    """Kernel-space diffusion for pansharpening.

    Inputs are :class:`~ksdiff.inputs.FusionInputs`; H and W are multiples of 8 and at least 32.
    The output is the fused image [B, C, H, W] in the units of ``lms``.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        prior, bands = config.prior, config.bands
        encoder = {"levels": prior.levels, "heads": prior.heads, "tokens": prior.tokens}
        self.target_encoder = PLFE(
            bands + 2, bands, width=prior.width, out_channels=prior.channels, **encoder
        )
        self.condition_encoder = PLFE(
            2, bands, width=prior.width // 2, out_channels=prior.channels, **encoder
        )
        self.schedule = Schedule(config.diffusion)
        self.denoiser = Denoiser(prior.tokens, prior.channels, config.diffusion)
        self.injection = InjectionHead(bands, prior.channels, config.injection)
        self.network = PanNeXtU(
            bands + 2,
            self.injection.out_channels,
            config.widths,
            config.depths,
            config.expansion,
        )
        self.generator = KernelGenerator(
            prior.channels,
            bands + 2,
            [layer_shape(layer, config.kernels.ranks) for layer in self.network.modulated_layers()],
            config.kernels,
        )

    def target_prior(self, inputs: FusionInputs, gt: Tensor) -> Tensor:
        """z_0 [B, N, C_z] of stage 1, from PLFE1 that sees the truth ``gt`` (units of lms)."""
        return _unit(self.target_encoder(_features(inputs), gt - 1))

    def condition(self, inputs: FusionInputs) -> Tensor:
        """The diffusion condition c [B, N, C_z], from PLFE2 that sees PAN and LRMS only."""
        features = _features(inputs)
        return self.condition_encoder(features[:, -2:], features[:, :-2])

    def denoise(self, z: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return _unit(self.denoiser(z, t, condition))

    def sample_prior(
        self, condition: Tensor, noise: Tensor, sampling_steps: int | None = None
    ) -> Tensor:
        """DDIM from ``noise`` [B, N, C_z] to the prior z [B, N, C_z]."""
        steps = sampling_steps or self.config.diffusion.sampling_steps
        return ddim_sample(self.denoise, self.schedule, condition, noise, steps)

    def local_tokens(self, inputs: FusionInputs) -> Tensor:
        return self.generator.factor.tokens(_features(inputs))

    def kernels(self, z: Tensor, tokens: Tensor) -> Kernels:
        """Kernels from prior z [B, N, C_z] and local tokens [B, L, D]."""
        base = [layer.weight for layer in self.network.modulated_layers()]
        return Kernels(self.generator(z, tokens, base), self.injection.basis_kernels(z))

    def estimate_kernels(
        self,
        inputs: FusionInputs,
        generator: torch.Generator | None = None,
        sampling_steps: int | None = None,
    ) -> Kernels:
        """The kernels of one scene from K equally large sample windows of it (the batch).

        Conditions and local tokens are averaged over the windows: one prior, one set of kernels,
        no seams. ``generator`` (on the CPU) makes the noise of the sampling repeatable.
        """
        condition = self.condition(inputs).mean(0, keepdim=True)
        tokens = self.local_tokens(inputs).mean(0, keepdim=True)
        noise = torch.randn(condition.shape, generator=generator).to(condition)
        return self.kernels(self.sample_prior(condition, noise, sampling_steps), tokens)

    def fuse(self, inputs: FusionInputs, kernels: Kernels) -> Tensor:
        """One pass: fused [B, C, H, W] in the units of ``lms``."""
        output = self.network(_features(inputs), kernels.layers)
        return self.injection(inputs, output, kernels.basis)

    def forward(self, inputs: FusionInputs, z: Tensor) -> Tensor:
        """Fuse each sample of a batch with the kernels of its own prior z [B, N, C_z]."""
        return self.fuse(inputs, self.kernels(z, self.local_tokens(inputs)))


def _features(inputs: FusionInputs) -> Tensor:
    """[B, C + 2, H, W]: centred lms, PAN, and PAN's detail."""
    detail = inputs.pan - inputs.pan_low.mean(1, keepdim=True)
    return torch.cat((inputs.lms - 1, inputs.pan, detail), 1)


def _unit(z: Tensor) -> Tensor:
    """Tokens of unit variance: the diffusion's noise schedule presumes that scale."""
    return F.layer_norm(z, z.shape[-1:])
