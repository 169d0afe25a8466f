"""The input of classical methods, and the statistics that they share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ksdiff.images.expansion import Phase, expand
from ksdiff.images.wald import pan_lowpass
from ksdiff.sensors import GENERIC_PAN_GAIN

# Fraction of the mean: modulation that divides by less turns dark pixels into bright outliers.
_LEAST_DIVISOR = 0.1
_FLAT = 1e-6  # of the mean: above float32 rounding, below a single digital number


@dataclass(frozen=True)
class ClassicalPair:
    """PAN and MS of one scene in DN, whole or as windows of it (the batch)."""

    pan: Tensor  # [B, 1, H, W]
    ms: Tensor  # [B, C, h, w]
    lms: Tensor  # [B, C, H, W] the MS image on the PAN grid, expanded with its true phase
    gains: Sequence[float]  # [C] MTF gains of the MS bands at Nyquist
    ratio: int
    boundary: str = "circular"  # of the low-passed PAN; "reflect" where wrapping would show
    pan_gain: float = GENERIC_PAN_GAIN  # MTF gain of PAN at the Nyquist frequency of the MS grid
    # What methods have measured of the scene: given to pairs of its windows, it makes them differ
    # in nothing but their content.
    measured: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        batch, bands, height, width = self.ms.shape
        fine = (batch, bands, height * self.ratio, width * self.ratio)
        if tuple(self.lms.shape) != fine:
            raise ValueError(f"lms: expected {fine} for this ms, got {tuple(self.lms.shape)}")
        if tuple(self.pan.shape) != (batch, 1, *fine[2:]):
            raise ValueError(
                f"pan: expected {(batch, 1, *fine[2:])} for this ms, got {tuple(self.pan.shape)}"
            )

    @classmethod
    def of(
        cls,
        pan: Tensor,
        ms: Tensor,
        gains: Sequence[float],
        ratio: int,
        phase: Phase | None = None,
        boundary: str = "circular",
        pan_gain: float = GENERIC_PAN_GAIN,
        measured: dict[str, Tensor] | None = None,
    ) -> "ClassicalPair":
        """Expand ``ms`` with its phase (see :mod:`ksdiff.images.wald`) and make a pair."""
        lms = expand(ms, ratio, phase, boundary)
        known = {} if measured is None else measured
        return cls(pan, ms, lms, gains, ratio, boundary, pan_gain, known)

    def of_scene(self, name: str, measure: Callable[[], Tensor]) -> Tensor:
        """The result of ``measure``, or of an earlier call of that name by whichever method."""
        if name not in self.measured:
            self.measured[name] = measure()
        return self.measured[name]

    def lowpass(self, pan: Tensor, gains: Sequence[float] | None = None) -> Tensor:
        """PAN [B, 1, H, W] as the MS bands would see it, on the PAN grid and aligned with PAN."""
        return pan_lowpass(pan, gains or self.gains, self.ratio, self.boundary)


def mean(x: Tensor) -> Tensor:
    """Per band, over all pixels of all windows: [B, C, H, W] -> [1, C, 1, 1]."""
    return x.double().mean((0, -1, -2), keepdim=True).to(x.dtype)


def deviation(x: Tensor) -> Tensor:
    """Standard deviation (N - 1), as ``mean``."""
    return x.double().std((0, -1, -2), keepdim=True).to(x.dtype)


def centred(pair: ClassicalPair, name: str) -> Tensor:
    """The image ``pair.NAME`` less the scene's mean; exactly zero for a constant scene, where only
    rounding would be left."""
    x = getattr(pair, name)
    average = pair.of_scene(f"{name} mean", lambda: mean(x))
    spread = pair.of_scene(f"{name} deviation", lambda: deviation(x))
    return torch.where(spread <= _FLAT * average.abs(), 0.0, x - average)


def covariance(x: Tensor, y: Tensor) -> Tensor:
    """Covariance (N - 1), as ``mean``."""
    a, b = x.double(), y.double()
    product = (a - mean(a)) * (b - mean(b))
    count = product.numel() // product.shape[1]
    return (product.sum((0, -1, -2), keepdim=True) / (count - 1)).to(x.dtype)


def divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Quotient, 0 where the denominator is 0."""
    zero = denominator == 0
    return torch.where(zero, 0.0, numerator / torch.where(zero, 1.0, denominator))


def high_pass_modulation(
    pair: ClassicalPair, name: str, lms: Tensor, pan: Tensor, low: Tensor
) -> Tensor:
    """lms * pan / low, with ``low`` clamped to a tenth of its scene mean at least.

    Computed as lms plus detail, so that the result stays near lms where ``low`` is clamped.
    """
    average = pair.of_scene(f"{name} divisor", lambda: mean(low))
    floor = _LEAST_DIVISOR * average.clamp_min(torch.finfo(low.dtype).tiny)
    return lms + lms / torch.maximum(low, floor) * (pan - low)
