"""KSDiff put together: prior -> kernels -> one-pass fusion (arXiv 2505.18991)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ksdiff.config import ModelConfig, PriorConfig
from ksdiff.errors import KSDiffError
from ksdiff.images.descriptors import SCENE_FEATURES
from ksdiff.images.inputs import FusionInputs
from ksdiff.images.piecewise import piecewise, row_blocks
from ksdiff.models.backbones import BACKBONES
from ksdiff.models.bands import BandImage, BandKernelGenerator, BandKernels, BandStem, BandTokens
from ksdiff.models.diffusion import Denoiser, Schedule, ddim_sample
from ksdiff.models.encoder import PLFE
from ksdiff.models.injection import InjectionHead, inject
from ksdiff.models.kernels import KernelGenerator, layer_shape, layer_weight
from ksdiff.models.layers import PatchConv2d
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
GENERATORS: dict[str, type[KernelGenerator | MLPKernelGenerator | PlainKernels]] = {
    "tucker": KernelGenerator,
    "mlp": MLPKernelGenerator,
    "plain": PlainKernels,
    "features": FeatureModulation,
}


_PATCHES = (1, 2, 4, 8)  # what divides the multiple of 8 that the images' sides are


class Kernels(NamedTuple):
    """The kernels of a scene (or a batch of crops), which the prior decides."""

    layers: list[Tensor]  # W1 [B, C_out, C_in / groups, k, k] of every modulated layer
    basis: Tensor | None  # [B, C, R, k, k] of the injection head
    ends: BandKernels | None = None  # where the network takes any bands


class KSDiff(nn.Module):
    """Kernel-space diffusion for pansharpening.

    Inputs are :class:`~ksdiff.images.inputs.FusionInputs`; H and W are multiples of 8 and at least
    32. The output is the fused image [B, C, H, W] in the units of ``lms``. With ``bands: any`` C
    may differ from call to call, and the inputs' descriptors say what the bands are.
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
        self.any_bands = config.bands == "any"
        if self.any_bands:
            self.tokens_of_bands = BandTokens(config.kernels.width)
        self.schedule = Schedule(config.diffusion)
        self._add_prior(config.prior)
        self._add_network(network)
        self.generator = GENERATORS[config.kernels.generator](
            config.prior.channels,
            self._stem(2, config.kernels.width, config.kernels.patch),
            [layer_shape(layer, config.kernels.ranks) for layer in self.network.modulated_layers()],
            config.kernels,
        )

    def _add_prior(self, prior: PriorConfig) -> None:
        """What gives a prior: two encoders and a denoiser, or one constant."""
        if prior.source == "none":
            # Nothing to train, so that training needs no case of its own.
            self.target_encoder: nn.Module = nn.Module()
            self.condition_encoder = self.denoiser = self.target_encoder
            self.constant_prior = nn.Parameter(torch.zeros(1, prior.tokens, prior.channels))
            return
        self.target_encoder = self._encoder(prior.width, sees_bands=True)
        self.condition_encoder = self._encoder(prior.width // 2, sees_bands=False)
        self.denoiser = Denoiser(prior.tokens, prior.channels, self.config.diffusion)
        if self.any_bands:
            self.target_scene, self.condition_scene = (
                _scene_encoder(prior.channels) for _ in range(2)
            )

    def _add_network(self, network: Modulated | None) -> None:
        """What fuses: the U-Net and what belongs to it, or another network that is modulated."""
        config, bands, channels = self.config, self.config.bands, self.config.prior.channels
        self.injection: InjectionHead | None = None
        self.network: PanNeXtU | Modulated
        if network is not None or config.network != "pannext-u":
            if config.kernels.generator == "features":
                raise KSDiffError(
                    "model.kernels.generator: features works in the network pannext-u alone, not "
                    "in a plug-in; choose tucker, mlp or plain"
                )
            if bands == "any":
                raise KSDiffError(
                    "model.bands: any works in the network pannext-u alone, not in a plug-in"
                )
            self.network = network or _backbone(config, bands)
            return
        shape = config.widths, config.depths, config.expansion
        if bands == "any":
            self.network = PanNeXtU.of_any_bands(config.band_basis, *shape)
            self.ends = BandKernelGenerator(
                channels, config.kernels.width, config.band_basis, config.band_basis
            )
        else:
            self.injection = InjectionHead(bands, channels, config.injection)
            self.network = PanNeXtU.of_bands(bands, self.injection.out_channels, *shape)

    def _stem(self, shared: int, width: int, patch: int) -> nn.Module:
        """From bands and ``shared`` further channels to ``width`` at a patch-th of the size."""
        bands = self.config.bands
        if bands == "any":
            return BandStem(self.config.kernels.width, shared, width, patch)
        return PatchConv2d(bands + shared, width, patch)

    def _encoder(self, width: int, sees_bands: bool) -> nn.Module:
        """PLFE or what an ablation puts in its place: of PAN and, ``sees_bands``, of the bands,
        guided by bands (those of the truth or the expanded MS)."""
        prior, bands = self.config.prior, self.config.bands
        sizes = {"tokens": prior.tokens, "out_channels": prior.channels, "levels": prior.levels}
        if prior.encoder == "concat" and bands != "any":
            channels = (bands if sees_bands else 0) + 2 + bands
            return ConcatEncoder(channels, patch=prior.patch, width=width, **sizes)
        source = (
            self._stem(2, width, prior.patch) if sees_bands else PatchConv2d(2, width, prior.patch)
        )
        return PLFE(
            source, self._stem(0, width, prior.patch), width=width, heads=prior.heads, **sizes
        )

    def target_prior(self, inputs: FusionInputs, gt: Tensor) -> Tensor:
        """z_0 [B, N, C_z] of stage 1, from PLFE1 that sees the truth ``gt`` (units of lms)."""
        if self.config.prior.source == "none":
            return self._constant(len(gt))
        if not self.any_bands:
            return _unit(self.target_encoder(_features(inputs), gt - 1))
        image, spread = self._image(inputs), inputs.known("spread")
        truth = BandImage((gt - 1) / spread[..., None, None], image.tokens)
        scene = self.target_scene(inputs.known("scene"))
        return _unit(self.target_encoder(image, truth) + scene[:, None])

    def condition(self, inputs: FusionInputs) -> Tensor:
        """The diffusion condition c [B, N, C_z], from PLFE2 that sees PAN and LRMS only, and, with
        any bands, from what is known of the scene."""
        return self._condition(inputs, self._seen(inputs))

    def denoise(self, z: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """The denoiser's estimate of the clean prior of z_t [B, N, C_z]; t [B]."""
        predicted = self.denoiser(z, t, condition)
        if self.config.diffusion.predict == "noise":
            predicted = self.schedule.remove_noise(z, predicted, t)
        return _unit(predicted)

    def diffusion_loss(self, z0: Tensor, noise: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """L1 of what the denoiser predicts (z0, or the noise) at times t [B] in 1 ... T."""
        if self.config.prior.source != "diffusion":
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
        if self.config.prior.source != "diffusion":
            return condition
        steps = sampling_steps or self.config.diffusion.sampling_steps
        with alone_if_small(condition):
            return ddim_sample(self.denoise, self.schedule, condition, noise, steps)

    def local_tokens(self, inputs: FusionInputs) -> Tensor:
        """What the kernels' factors are made of: tokens [B, L, D] of each window of a scene."""
        return self._tokens(self._seen(inputs))

    def observed(self, inputs: FusionInputs) -> tuple[Tensor, Tensor]:
        """`condition` and `local_tokens` together, which is quicker."""
        seen = self._seen(inputs)
        return self._condition(inputs, seen), self._tokens(seen)

    def kernels(self, z: Tensor, tokens: Tensor, inputs: FusionInputs | None = None) -> Kernels:
        """Kernels from prior z [B, N, C_z] and local tokens [B, L, D].

        With any bands ``inputs`` say which, by descriptors and spread of batch B.
        """
        base = [layer_weight(layer) for layer in self.network.modulated_layers()]
        with alone_if_small(tokens):
            basis = None if self.injection is None else self.injection.basis_kernels(z)
            ends = None if inputs is None or not self.any_bands else self._ends(z, tokens, inputs)
            return Kernels(self.generator(z, tokens, base), basis, ends)

    def _ends(self, z: Tensor, tokens: Tensor, inputs: FusionInputs) -> BandKernels:
        stem, head, gain = self.ends(z, tokens, self.tokens_of_bands(inputs.known("descriptors")))
        # The head's output is in units of each band's spread; its kernel gives units of the means.
        head = head * inputs.known("spread")[..., None]
        assert isinstance(self.network, PanNeXtU)
        return self.network.end_kernels(stem, head, gain[..., 0].exp())

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
        return self.kernels(z, tokens, inputs.first())

    def draw_noise(self, generator: torch.Generator | None = None) -> Tensor:
        """What one prior is sampled from, [1, N, C_z] on the CPU."""
        prior = self.config.prior
        return torch.randn(1, prior.tokens, prior.channels, generator=generator)

    def fuse(self, inputs: FusionInputs, kernels: Kernels) -> Tensor:
        """One pass: fused [B, C, H, W] in the units of ``lms``."""
        if kernels.ends is not None:
            output = self.network(_standardised(inputs), kernels.layers, kernels.ends)
            return inject(inputs, output, kernels.ends.gain)
        if self.injection is not None:
            output = self.network(_features(inputs), kernels.layers)
            return self.injection(inputs, output, kernels.basis)
        return self.network(matched_pan(inputs), inputs.lms, kernels=kernels.layers)

    def forward(self, inputs: FusionInputs, z: Tensor) -> Tensor:
        """Fuse each sample of a batch with the kernels of its own prior z [B, N, C_z]."""
        return self.fuse(inputs, self.kernels(z, self.local_tokens(inputs), inputs))

    def _seen(self, inputs: FusionInputs) -> Tensor | BandImage:
        return self._image(inputs) if self.any_bands else _features(inputs)

    def _image(self, inputs: FusionInputs) -> BandImage:
        tokens = self.tokens_of_bands(inputs.known("descriptors"))
        return BandImage(_standardised(inputs), tokens)

    def _condition(self, inputs: FusionInputs, seen: Tensor | BandImage) -> Tensor:
        if self.config.prior.source == "none":
            return self._constant(len(inputs.pan))
        with alone_if_small(inputs.pan):
            if isinstance(seen, BandImage):
                condition = self.condition_encoder(seen.shared(), seen.bands())
                scene = self.condition_scene(inputs.known("scene"))
                condition = condition + scene[:, None]
            else:
                condition = self.condition_encoder(seen[:, -2:], seen[:, :-2])
            return condition if self.config.prior.source == "diffusion" else _unit(condition)

    def _tokens(self, seen: Tensor | BandImage) -> Tensor:
        with alone_if_small(seen.x if isinstance(seen, BandImage) else seen):
            return self.generator.tokens(seen)

    def _constant(self, batch: int) -> Tensor:
        return self.constant_prior.expand(batch, -1, -1)


def takes_any_bands(model: object) -> bool:
    """Whether ``model`` wants its inputs described: networks for a fixed band count do not."""
    return getattr(model, "any_bands", False)


def _check(config: ModelConfig) -> None:
    for name, value, known in (
        ("network", config.network, ("pannext-u", *BACKBONES)),
        ("prior.source", config.prior.source, ("diffusion", "direct", "none")),
        ("prior.encoder", config.prior.encoder, ENCODERS),
        ("prior.patch", config.prior.patch, _PATCHES),
        ("kernels.patch", config.kernels.patch, _PATCHES),
        ("diffusion.predict", config.diffusion.predict, ("z0", "noise")),
        ("kernels.generator", config.kernels.generator, GENERATORS),
    ):
        if value not in known:
            choices = ", ".join(map(str, known))
            raise KSDiffError(f"model.{name}: expected one of {choices}, got {value!r}")

    if config.bands != "any":
        return
    for name, value, only in (
        ("ratio", config.ratio, "any"),
        ("network", config.network, "pannext-u"),
        ("prior.encoder", config.prior.encoder, "plfe"),
        ("injection.mode", config.injection.mode, "off"),
    ):
        if value != only:
            raise KSDiffError(f"model.{name}: with bands: any expected {only}, got {value!r}")


def _scene_encoder(channels: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(SCENE_FEATURES, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels)
    )


def _backbone(config: ModelConfig, bands: int) -> Modulated:
    network = BACKBONES[config.network](bands)
    return modulate(network, config.kernels.layers or network.modulated, config.kernels.ranks)


def matched_pan(inputs: FusionInputs) -> Tensor:
    """PAN [B, 1, H, W] in the units of lms, with the mean contrast of the bands."""
    return 1 + inputs.contrast.mean(1)[:, None, None, None] * inputs.pan


def _features(inputs: FusionInputs) -> Tensor:
    """[B, C + 2, H, W], channels_last, as stems want it: centred lms, PAN, and PAN's detail."""
    return _stacked(inputs, None)


def _standardised(inputs: FusionInputs) -> Tensor:
    """The same with each band in units of its spread over the scene, as PAN is."""
    return _stacked(inputs, inputs.known("spread"))


def _stacked(inputs: FusionInputs, spread: Tensor | None) -> Tensor:
    if not piecewise(inputs.lms):
        return _side_by_side(inputs, spread)
    batch, bands, height, width = inputs.lms.shape
    out = inputs.lms.new_empty(batch, height, width, bands + 2).permute(0, 3, 1, 2)
    for rows in row_blocks(out):
        out[..., rows, :] = _side_by_side(inputs.cropped((..., rows, slice(None))), spread)
    return out


def _side_by_side(inputs: FusionInputs, spread: Tensor | None) -> Tensor:
    bands = inputs.lms - 1
    if spread is not None:
        bands = bands / spread[..., None, None]
    detail = inputs.pan - inputs.pan_low.mean(1, keepdim=True)
    parts = (bands, inputs.pan, detail)
    return torch.cat([part.permute(0, 2, 3, 1) for part in parts], -1).permute(0, 3, 1, 2)


def _unit(z: Tensor) -> Tensor:
    """Tokens of unit variance: the diffusion's noise schedule presumes that scale."""
    return F.layer_norm(z, z.shape[-1:])
