"""Synthetic scenes with known truth: a drawn landscape seen through a sensor.

The landscape is drawn in reflectances per band, PAN being one more channel that integrates its own
range. The sensor adds gain, haze, MTF, noise and 11 bits; Wald's protocol makes the MS image.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from ksdiff.errors import KSDiffError
from ksdiff.images.pair import RATIOS
from ksdiff.images.wald import degrade_ms, mtf_filter
from ksdiff.sensors import sensor_for
from ksdiff.synthetic.landscape import draw_landscape

_CENTRES = {
    "coastal": 427,
    "blue": 482,
    "green": 548,
    "yellow": 604,
    "red": 660,
    "red edge": 723,
    "nir": 825,
    "nir1": 832,
    "nir2": 947,
    "swir1": 1609,
    "swir2": 2201,
}  # nm
_PAN_RANGE = (460, 790)  # nm, where a panchromatic sensor sees
_MAX_DN = 2047


def procedural_scene(
    seed: int, size: int = 1024, bands: int = 4, ratio: int = 4, sensor: str | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw a scene and degrade it by Wald's protocol.

    Args:
        seed: another seed, another landscape; the same seed, the same pixels.
        size: side in PAN pixels, a multiple of 8 and of the ratio, at least 64.
        bands: 4, 6 or 8 are those of common sensors, other counts are spread over 430 to 950 nm.
        ratio: 2 to 8.
        sensor: whose MTF to use; generic gains if left out.

    Returns:
        pan [1, size, size], ms [bands, size / ratio, size / ratio], gt [bands, size, size], uint16
        with 11 bits. MS pixel n lies on PAN pixel ``ratio * n + ratio // 2``.
    """
    if ratio not in RATIOS:
        raise KSDiffError(f"ratio: expected a whole number from 2 to 8, got {ratio}")
    step = math.lcm(8, ratio)
    if size < 64 or size % step:
        raise KSDiffError(f"size: expected a multiple of {step} of at least 64, got {size}")
    if bands < 1:
        raise KSDiffError(f"bands: expected at least 1, got {bands}")
    seen_by = sensor_for(sensor, bands, ratio)
    gains = seen_by.ms_gains
    rng = np.random.default_rng(seed)
    centres = _band_centres(bands)
    wavelengths = [*centres[:, None], np.linspace(*_PAN_RANGE, 34)]
    dn = _to_dn(draw_landscape(rng, size, wavelengths), centres)
    seen = mtf_filter(torch.from_numpy(dn)[None], (*gains, seen_by.pan_gain), 1)[0].numpy()
    seen += rng.standard_normal(seen.shape, dtype=np.float32) * _noise_dn(bands)
    gt = _quantise(seen[:bands])
    ms = degrade_ms(torch.from_numpy(gt.astype(np.float32))[None], gains, ratio)[0].numpy()
    return _quantise(seen[bands:]), _quantise(ms), gt


def _band_centres(bands: int) -> np.ndarray:
    known = {4: "wv4", 6: "landsat8", 8: "wv3"}.get(bands)
    if known is None:
        return np.linspace(430, 950, bands)
    names = sensor_for(known, bands, 4).band_names
    return np.array([_CENTRES[name] for name in names], dtype=float)


def _to_dn(reflectance: np.ndarray, centres: np.ndarray) -> np.ndarray:
    at = np.append(centres, np.mean(_PAN_RANGE))
    gain = np.interp(
        at, (425, 480, 550, 660, 830, 950, 2200), (2600, 2500, 2300, 2200, 1900, 1800, 1500)
    )
    haze = np.interp(at, (425, 480, 550, 660, 830, 950), (210, 165, 110, 60, 25, 18))
    dn = reflectance * gain[:, None, None] + haze[:, None, None]
    return dn.astype(np.float32)


def _noise_dn(bands: int) -> np.ndarray:
    return np.array([2.0] * bands + [3.0], dtype=np.float32)[:, None, None]


def _quantise(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, _MAX_DN).astype(np.uint16)
