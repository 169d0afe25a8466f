"""Low-pass filters that imitate a sensor's modulation transfer function (MTF).

A Gaussian that has the sensor's gain at the Nyquist frequency of the MS grid, as the DLPan-Toolbox
designs it. Filters are designed in float64 and cached.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

MTF_TAPS = 41
_KAISER_BETA = 0.5

Gains = Sequence[float] | Tensor


@lru_cache(maxsize=512)
def _mtf_kernel(gain: float, ratio: int, taps: int) -> np.ndarray:
    if not 0.0 < gain < 1.0:
        raise ValueError(f"gain: expected a value between 0 and 1, got {gain}")
    if taps < 3 or taps % 2 == 0:
        raise ValueError(f"taps: expected an odd number of at least 3, got {taps}")
    half = (taps - 1) // 2
    alpha = math.sqrt((half / ratio) ** 2 / (-2.0 * math.log(gain)))
    at = np.arange(-half, half + 1, dtype=np.float64)
    square = at[:, None] ** 2 + at[None, :] ** 2
    response = np.exp(-square / (2.0 * alpha**2))
    kernel = np.real(np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(response))))
    radius = np.sqrt(square)
    window = np.interp(radius, at[half:], np.kaiser(taps, _KAISER_BETA)[half:])
    window[radius > half] = 0.0
    kernel = kernel * window
    kernel.setflags(write=False)
    return kernel


def mtf_kernel(gain: float, ratio: int, taps: int = MTF_TAPS) -> np.ndarray:
    """Gaussian low-pass with a given gain at the Nyquist frequency of the coarse grid.

    The frequency-sampling design with a rotated Kaiser window (β = 0.5) of the toolbox
    (MATLAB's ``fwind1``); not renormalised, so the DC gain is a little below 1.

    Args:
        gain: MTF at Nyquist, between 0 and 1.
        ratio: resolution ratio.
        taps: odd width.

    Returns:
        [taps, taps] float64.
    """
    return _mtf_kernel(float(gain), int(ratio), int(taps)).copy()


@lru_cache(maxsize=128)
@torch.inference_mode(False)
def mtf_weight(
    gains: tuple[float, ...], ratio: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    kernels = np.stack([_mtf_kernel(gain, ratio, MTF_TAPS) for gain in gains])
    return torch.from_numpy(kernels)[:, None].to(device=device, dtype=dtype)


class MTFFilters(NamedTuple):
    """The bands' low-pass filters, each as the product of a column and a row that are the same.

    They differ from `mtf_kernel` by about 1e-5 and take an eighth of the work: inference uses them,
    protocols the exact kernel. Bands of equal gain share a profile.
    """

    profiles: Tensor  # [D, 41]
    bands: Tensor  # [C] int64: the profile of each band

    def per_band(self) -> Tensor:
        """[C, 41]."""
        return self.spread(self.profiles, 0)

    def spread(self, x: Tensor, dim: int) -> Tensor:
        """From one slice per profile to one per band, along ``dim``; views where all share one."""
        if len(self.profiles) == 1:
            sizes = list(x.shape)
            sizes[dim] = len(self.bands)
            return x.expand(sizes)
        return x if len(self.profiles) == len(self.bands) else x.index_select(dim, self.bands)


@lru_cache(maxsize=512)
def _mtf_profile(gain: float, ratio: int) -> np.ndarray:
    values, vectors = np.linalg.eigh(_mtf_kernel(gain, ratio, MTF_TAPS))
    profile = vectors[:, -1] * math.sqrt(values[-1])
    return profile if profile.sum() > 0 else -profile


@lru_cache(maxsize=128)
@torch.inference_mode(False)
def mtf_filters(
    gains: tuple[float, ...], ratio: int, dtype: torch.dtype, device: torch.device
) -> MTFFilters:
    """The filters for images of that dtype on that device; ``gains`` [C] as in `mtf_kernel`.

    Functions that take them instead of gains need nothing from the CPU.
    """
    distinct = tuple(dict.fromkeys(gains))
    profiles = np.stack([_mtf_profile(gain, ratio) for gain in distinct])
    return MTFFilters(
        torch.from_numpy(profiles).to(device=device, dtype=dtype),
        torch.tensor([distinct.index(gain) for gain in gains], device=device),
    )


def filters_of(gains: Gains | MTFFilters, ratio: int, x: Tensor) -> MTFFilters:
    """For an image like ``x``."""
    if isinstance(gains, MTFFilters):
        return gains
    return mtf_filters(gains_of(gains, len(gains)), ratio, x.dtype, x.device)


def gains_of(gains: Gains, bands: int) -> tuple[float, ...]:
    values = tuple(float(g) for g in gains)
    if len(values) != bands:
        raise ValueError(f"gains: expected one per band ({bands}), got {len(values)}")
    return values
