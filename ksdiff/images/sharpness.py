"""PAN's sharpness relative to the target image, and filters that equalise it.

A fused image should look as if the MS sensor had PAN's grid: through the bands' MTF at
PAN's Nyquist frequency. A real PAN is softer there (gains of 0.11 to 0.17 against 0.22 to 0.37),
one that MATLAB's bicubic has decimated is sharper. The quotient of the two responses is a short
filter; the network handles the rest (noise, sampling, clipped gain).
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from torch import Tensor

from ksdiff.images.polyphase import FilterBank, filter_axis

PanGain = float | Literal["bicubic"]
GENERIC = 0.15  # what an unknown PAN is taken for
EQUALISER_HALF = 7  # taps on either side
_MOST = 2.2  # amplification: above it noise is what grows
_SENSOR = 0.15  # gain of the PAN that a protocol's bicubic has decimated, at its own Nyquist


def equalised(
    pan: Tensor, pan_gain: PanGain | None, gain: float, ratio: int, boundary: str = "reflect"
) -> Tensor:
    """PAN [B, 1, H, W] as if its MTF had the gain ``gain`` at its Nyquist frequency.

    Args:
        pan_gain: the gain that it has, or "bicubic"; None: not known, taken for 0.15.
        gain: mean MTF gain of the MS bands at theirs.
        ratio: of the pair, by which "bicubic" has decimated.
    """
    return filtered(pan, equaliser_bank(pan_gain, gain, ratio), boundary)


def equaliser_bank(pan_gain: PanGain | None, gain: float, ratio: int) -> FilterBank:
    """What `equalised` filters each axis with."""
    return FilterBank((equaliser_taps(pan_gain, gain, ratio),), -EQUALISER_HALF, 1)


def filtered(pan: Tensor, bank: FilterBank | None, boundary: str = "reflect") -> Tensor:
    """PAN [B, 1, H, W] filtered along both axes; as it is without a bank."""
    if bank is None:
        return pan
    return filter_axis(filter_axis(pan, -2, bank, boundary), -1, bank, boundary)


def mean_gain(gains: Sequence[float]) -> float:
    """The gain that PAN is equalised to: the mean of the bands'."""
    return sum(gains) / len(gains)


def equaliser_taps(pan_gain: PanGain | None, gain: float, ratio: int) -> tuple[float, ...]:
    """The symmetric filter's taps, 2 * EQUALISER_HALF + 1 of them."""
    return _taps(GENERIC if pan_gain is None else pan_gain, round(gain, 3), ratio)


@lru_cache(maxsize=256)
def _taps(pan_gain: PanGain, gain: float, ratio: int) -> tuple[float, ...]:
    at = np.fft.rfftfreq(512)  # cycles per PAN pixel
    wanted = gain ** ((at / 0.5) ** 2)
    if pan_gain == "bicubic":
        has = np.abs(_bicubic(at)) * _SENSOR ** ((at / 0.5 / ratio) ** 2)
    else:
        has = pan_gain ** ((at / 0.5) ** 2)
    response = np.minimum(wanted / np.maximum(has, 1e-3), _MOST)
    taps = np.fft.fftshift(np.fft.irfft(response))[256 - EQUALISER_HALF : 257 + EQUALISER_HALF]
    taps = taps * np.hanning(2 * EQUALISER_HALF + 3)[1:-1]
    return tuple(taps / taps.sum())


def _bicubic(frequency: np.ndarray) -> np.ndarray:
    """Response of the cubic kernel (a = -0.5) at cycles per sample."""
    t = np.linspace(-2, 2, 401)
    d = np.abs(t)
    near, far = (1.5 * d - 2.5) * d**2 + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2
    kernel = np.where(d <= 1, near, far)
    waves = np.cos(2 * math.pi * frequency[:, None] * t)
    return waves @ kernel / kernel.sum()
