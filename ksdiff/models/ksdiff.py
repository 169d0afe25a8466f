"""KSDiff put together: prior -> kernels -> one-pass fusion (arXiv 2505.18991)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ksdiff.config import ModelConfig
from ksdiff.errors import KSDiffError
from ksdiff.images.inputs import FusionInputs
from ksdiff.models.backbones import BACKBONES
from ksdiff.models.diffusion import Denoiser, Schedule, ddim_sample
from ksdiff.models.encoder import PLFE
from ksdiff.models.injection import InjectionHead
from ksdiff.models.kernels import KernelGenerator, layer_shape
from ksdiff.models.modulate import Modulated, modulate
from ksdiff.models.unet import PanNeXtU
from ksdiff.models.variants import (
    ConcatEncoder,
    FeatureModulation,
    MLPKernelGenerator,
    PlainKernels,
)
from ksdiff.runtime import alone_if_small

ENCODERS = {"plfe": PLFE, "concat": ConcatEncoder}
GENERATORS = {
    "tucker": KernelGenerator,
    "mlp": MLPKernelGenerator,
    "plain": PlainKernels,
    "features": FeatureModulation,
}


_PATCHES = (1, 2, 4, 8)  # what divides the multiple of 8 that the images' sides are


class Kernels(NamedTuple):
    """All that the prior decides for a scene (or a batch of crops)."""

    layers: list[Tensor]  # W1 [B, C_out, C_in / groups, k, k] of every modulated layer
    basis: Tensor | None  # [B, C, R, k, k] of the injection head


class KSDiff(nn.Module):
    """Kernel-space diffusion for pansharpening.

    Inputs are :class:`~ksdiff.images.inputs.FusionInputs`; H and W are multiples of 8 and at least
    32. The output is the fused image [B, C, H, W] in the units of ``lms``.
    """

    def __init__(self, config: ModelConfig, network: Modulated | None = None) -> None:
        """Build the model of ``config``.

        Args:
            network: instead of ``config.network``: any network made by
                :func:`~ksdiff.models.modulate.modulate`, called as network(pan, lms) -> fused
                [B, C, H, W], PAN [B, 1, H, W] and lms in units of the band means.

        Raises:
            KSDiffError: a choice in ``config`` that does not exist.
        """
        super().__init__()
        _check(config)
        self.config = config
        prior, bands = config.prior, config.bands
        encoder = {
            "patch": prior.patch,
            "levels": prior.levels,
            "heads": prior.heads,
            "tokens": prior.tokens,
            "out_channels": prior.channels,
        }
        kind = ENCODERS[prior.encoder]
        self.schedule = Schedule(config.diffusion)
        if prior.source == "diffusion":
            self.target_encoder = kind(bands + 2, bands, width=prior.width, **encoder)
            self.condition_encoder = kind(2, bands, width=prior.width // 2, **encoder)
            self.denoiser = Denoiser(prior.tokens, prior.channels, config.diffusion)
        else:
            # Nothing to train, so that training needs no case of its own.
            self.target_encoder = self.condition_encoder = self.denoiser = nn.Module()
            self.constant_prior = nn.Parameter(torch.zeros(1, prior.tokens, prior.channels))
        if network is None and config.network == "pannext-u":
            self.injection = InjectionHead(bands, prior.channels, config.injection)
            self.network = PanNeXtU(
                bands + 2,
                self.injection.out_channels,
                config.widths,
                config.depths,
                config.expansion,
            )
        else:
            if config.kernels.generator == "features":
                raise KSDiffError(
                    "model.kernels.generator: features works in the network pannext-u alone, not "
                    "in a plug-in; choose tucker, mlp or plain"
                )
            self.injection = None
            self.network = network or _backbone(config)
        self.generator = GENERATORS[config.kernels.generator](
            prior.channels,
            bands + 2,
            [layer_shape(layer, config.kernels.ranks) for layer in self.network.modulated_layers()],
            config.kernels,
        )

    def target_prior(self, inputs: FusionInputs, gt: Tensor) -> Tensor:
        """z_0 [B, N, C_z] of stage 1, from PLFE1 that sees the truth ``gt`` (units of lms)."""
        if self.config.prior.source == "none":
            return self._constant(len(gt))
        return _unit(self.target_encoder(_features(inputs), gt - 1))

    def condition(self, inputs: FusionInputs) -> Tensor:
        """The diffusion condition c [B, N, C_z], from PLFE2 that sees PAN and LRMS only."""
        return self._condition(_features(inputs))

    def denoise(self, z: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """The clean prior that the denoiser believes z_t [B, N, C_z] to come from; t [B]."""
        predicted = self.denoiser(z, t, condition)
        if self.config.diffusion.predict == "noise":
            predicted = self.schedule.remove_noise(z, predicted, t)
        return _unit(predicted)

    def diffusion_loss(self, z0: Tensor, noise: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """L1 of what the denoiser predicts (z0, or the noise) at times t [B] in 1 ... T."""
        if self.config.prior.source == "none":
            return z0.new_zeros(())
        noisy = self.schedule.add_noise(z0, noise, t)
        if self.config.diffusion.predict == "noise":
            return F.l1_loss(self.denoiser(noisy, t, condition), noise)
        return F.l1_loss(self.denoise(noisy, t, condition), z0)

    def sample_prior(
        self, condition: Tensor, noise: Tensor, sampling_steps: int | None = None
    ) -> Tensor:
        """DDIM from ``noise`` [B, N, C_z] to the prior z [B, N, C_z].

        In ``sampling_steps`` evaluations, by default as many as the config says for inference.
        """
        if self.config.prior.source == "none":
            return condition
        steps = sampling_steps or self.config.diffusion.sampling_steps
        with alone_if_small(condition):
            return ddim_sample(self.denoise, self.schedule, condition, noise, steps)

    def local_tokens(self, inputs: FusionInputs) -> Tensor:
        """What the kernels' factors are made of: tokens [B, L, D] of each window of a scene."""
        return self._tokens(_features(inputs))

    def observed(self, inputs: FusionInputs) -> tuple[Tensor, Tensor]:
        """`condition` and `local_tokens` together, which is quicker."""
        features = _features(inputs)
        return self._condition(features), self._tokens(features)

    def kernels(self, z: Tensor, tokens: Tensor) -> Kernels:
        """Kernels from prior z [B, N, C_z] and local tokens [B, L, D]."""
        base = [layer.weight for layer in self.network.modulated_layers()]
        with alone_if_small(tokens):
            basis = None if self.injection is None else self.injection.basis_kernels(z)
            return Kernels(self.generator(z, tokens, base), basis)

    def estimate_kernels(
        self,
        inputs: FusionInputs,
        generator: torch.Generator | None = None,
        sampling_steps: int | None = None,
        noise: Tensor | None = None,
    ) -> Kernels:
        """The kernels of one scene from K equally large sample windows of it (the batch).

        Conditions and local tokens are averaged over the windows: one prior, one set of kernels,
        no seams. ``generator`` (on the CPU) makes the noise of the sampling repeatable. With
        ``noise`` from `draw_noise` on the device of ``inputs``, nothing comes from the CPU.
        """
        condition, tokens = (part.mean(0, keepdim=True) for part in self.observed(inputs))
        noise = self.draw_noise(generator) if noise is None else noise
        z = self.sample_prior(condition, noise.to(condition), sampling_steps)
        return self.kernels(z, tokens)

    def draw_noise(self, generator: torch.Generator | None = None) -> Tensor:
        """What one prior is sampled from, [1, N, C_z] on the CPU."""
        prior = self.config.prior
        return torch.randn(1, prior.tokens, prior.channels, generator=generator)

    def fuse(self, inputs: FusionInputs, kernels: Kernels) -> Tensor:
        """One pass: fused [B, C, H, W] in the units of ``lms``."""
        if self.injection is None:
            return self.network(matched_pan(inputs), inputs.lms, kernels=kernels.layers)
        output = self.network(_features(inputs), kernels.layers)
        return self.injection(inputs, output, kernels.basis)

    def forward(self, inputs: FusionInputs, z: Tensor) -> Tensor:
        """Fuse each sample of a batch with the kernels of its own prior z [B, N, C_z]."""
        return self.fuse(inputs, self.kernels(z, self.local_tokens(inputs)))

    def _condition(self, features: Tensor) -> Tensor:
        if self.config.prior.source == "none":
            return self._constant(len(features))
        with alone_if_small(features):
            return self.condition_encoder(features[:, -2:], features[:, :-2])

    def _tokens(self, features: Tensor) -> Tensor:
        with alone_if_small(features):
            return self.generator.tokens(features)

    def _constant(self, batch: int) -> Tensor:
        return self.constant_prior.expand(batch, -1, -1)


def _check(config: ModelConfig) -> None:
    for name, value, known in (
        ("network", config.network, ("pannext-u", *BACKBONES)),
        ("prior.source", config.prior.source, ("diffusion", "none")),
        ("prior.encoder", config.prior.encoder, ENCODERS),
        ("prior.patch", config.prior.patch, _PATCHES),
        ("kernels.patch", config.kernels.patch, _PATCHES),
        ("diffusion.predict", config.diffusion.predict, ("z0", "noise")),
        ("kernels.generator", config.kernels.generator, GENERATORS),
    ):
        if value not in known:
            choices = ", ".join(map(str, known))
            raise KSDiffError(f"model.{name}: expected one of {choices}, got {value!r}")


def _backbone(config: ModelConfig) -> Modulated:
    network = BACKBONES[config.network](config.bands)
    return modulate(network, config.kernels.layers or network.modulated, config.kernels.ranks)


def matched_pan(inputs: FusionInputs) -> Tensor:
    """PAN [B, 1, H, W] in the units of lms, with the mean contrast of the bands."""
    return 1 + inputs.contrast.mean(1)[:, None, None, None] * inputs.pan


def _features(inputs: FusionInputs) -> Tensor:
    """[B, C + 2, H, W], channels_last, as stems want it: centred lms, PAN, and PAN's detail."""
    detail = inputs.pan - inputs.pan_low.mean(1, keepdim=True)
    parts = (inputs.lms - 1, inputs.pan, detail)
    return torch.cat([part.permute(0, 2, 3, 1) for part in parts], -1).permute(0, 3, 1, 2)


def _unit(z: Tensor) -> Tensor:
    """Tokens of unit variance: the diffusion's noise schedule presumes that scale."""
    return F.layer_norm(z, z.shape[-1:])
