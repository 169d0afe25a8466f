"""The pixel-adaptive injection head: HRMS = lms + detail, filtered at each pixel by its own kernel.

Beyond the paper. Its split of global and local, per pixel: basis kernels from the global prior,
coefficients from local features. Untrained it is MTF-GLP-HPM (Vivone et al.).
"""

import torch
from torch import Tensor, nn

import ksdiff_ops
from ksdiff.config import InjectionConfig
from ksdiff.images.inputs import FusionInputs
from ksdiff.images.piecewise import piecewise, row_blocks

_SMALLEST_PAN = 0.1  # of the band mean: dark water must not divide by zero


def hpm_detail(inputs: FusionInputs, gain: Tensor | None = None) -> Tensor:
    """High-pass modulation: gain * lms / PAN_low * (PAN - PAN_low), [B, C, H, W]; gain [B, C]."""
    contrast = inputs.contrast[..., None, None]
    # In place: at the size of PAN every new tensor costs more than the arithmetic.
    low = (contrast * inputs.pan_low).add_(1).clamp_min_(_SMALLEST_PAN)
    strength = contrast if gain is None else contrast * gain[..., None, None]
    return (inputs.pan - inputs.pan_low).mul_(strength).mul_(inputs.lms).div_(low)


def inject(inputs: FusionInputs, residual: Tensor, gain: Tensor | None = None) -> Tensor:
    """Fused [B, C, H, W] = lms + gain * detail + residual; gain [B, C], 1 by default.

    ``residual`` is overwritten where no gradients are recorded.
    """
    if not piecewise(residual) or residual.dtype != inputs.lms.dtype:
        return (inputs.lms + residual).add_(hpm_detail(inputs, gain))
    for rows in row_blocks(residual):
        some = inputs.cropped((..., rows, slice(None)))
        residual[..., rows, :].add_(some.lms).add_(hpm_detail(some, gain))
    return residual


class InjectionHead(nn.Module):
    """Filters each band's detail with per-pixel kernels sum_r a_r(p) K_r.

    The network's output [B, out_channels, H, W] carries, per band, the coefficients of the kernel
    (``lowrank``: R of them; ``full``: k^2; ``off``: none) and one residual. All are offsets: zeros
    leave the detail as it came.
    """

    delta: Tensor

    def __init__(self, bands: int, z_channels: int, config: InjectionConfig) -> None:
        super().__init__()
        self.bands, self.config = bands, config
        taps = config.kernel_size**2
        count = {"off": 0, "lowrank": config.rank, "full": taps}
        if config.mode not in count:
            raise ValueError(
                f"injection.mode: expected one of {', '.join(count)}, got {config.mode!r}"
            )
        self.coefficients = count[config.mode]
        self.out_channels = bands * (self.coefficients + 1)
        if config.mode == "lowrank":
            delta = torch.zeros(taps)
            delta[taps // 2] = 1
            self.register_buffer("delta", delta, persistent=False)
            basis = 0.1 * torch.randn(bands, config.rank, taps)
            basis[:, 0] = delta
            self.basis = nn.Parameter(basis)
            self.basis_from_prior = nn.Linear(z_channels, basis.numel())
            nn.init.zeros_(self.basis_from_prior.weight)
            nn.init.zeros_(self.basis_from_prior.bias)

    @property
    def strength(self) -> float:
        return 1.0 if self.training else self.config.strength

    @property
    def residual_strength(self) -> float:
        return 1.0 if self.training else self.config.residual_strength

    def basis_kernels(self, z: Tensor) -> Tensor | None:
        """K [B, C, R, k, k] from the prior z [B, N, C_z]; None where the mode has none."""
        if self.config.mode != "lowrank":
            return None
        size = self.config.kernel_size
        basis = self.basis + self.basis_from_prior(z.mean(1)).unflatten(-1, self.basis.shape)
        # Only the first kernel enters with a fixed coefficient, so only it is drawn to the delta.
        first = torch.lerp(self.delta.expand_as(basis[:, :, :1]), basis[:, :, :1], self.strength)
        return torch.cat((first, basis[:, :, 1:]), 2).unflatten(-1, (size, size))

    def forward(self, inputs: FusionInputs, output: Tensor, basis: Tensor | None) -> Tensor:
        """Fused [B, C, H, W]; ``output`` is overwritten."""
        residual = _scaled(output[:, : self.bands], self.residual_strength)
        if self.config.mode == "off":
            return inject(inputs, residual)
        detail = hpm_detail(inputs)
        weights = _scaled(output[:, self.bands :], self.strength)
        weights = weights.unflatten(1, (self.bands, self.coefficients))
        # In place: the coefficients are the largest tensor there is.
        if basis is not None:
            weights[:, :, 0] += 1
            basis = basis.expand(len(output), -1, -1, -1, -1)
            injected = ksdiff_ops.lowrank_dynamic_conv(detail, weights, basis)
        else:
            size = self.config.kernel_size
            weights[:, :, size * size // 2] += 1
            injected = ksdiff_ops.dynamic_conv(detail, weights.unflatten(2, (size, size)))
        return (inputs.lms + residual).add_(injected)


def _scaled(x: Tensor, factor: float) -> Tensor:
    if factor == 1:
        return x
    return x.mul_(factor) if piecewise(x) else factor * x
