"""Component substitution: bands get the difference between PAN and the MS intensity."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ksdiff.baselines.pair import (
    ClassicalPair,
    centred,
    covariance,
    deviation,
    divide,
    high_pass_modulation,
    mean,
)
from ksdiff.images.polyphase import FilterBank, filter_axis

# The default of early Orfeo Toolbox releases. Newer ones use 9, a window almost five MS pixels wide
# at ratio 4, which injects detail that the MS image already has.
RCS_RADIUS = 3
_HAZE_SHARES = (0.95, 0.45, 0.40, 0.05)  # of blue, green, red, near infrared


def exp(pair: ClassicalPair) -> Tensor:
    """The expanded MS image itself, without PAN: what every method must beat."""
    return pair.lms


def _at_ms_scale(pair: ClassicalPair, lms: Tensor, pan: Tensor) -> tuple[Tensor, Tensor]:
    """lms and PAN, low-passed, at one PAN pixel per MS pixel: [N, C] and [N, 1], float64.

    Both are taken at the same places of the PAN grid, so the phase of the MS image is respected.
    """
    gain = sum(float(g) for g in pair.gains) / len(pair.gains)
    step = slice(pair.ratio // 2, None, pair.ratio)
    low = pair.lowpass(pan, (gain,))[..., step, step]
    columns = [x.double().movedim(1, -1).flatten(0, 2) for x in (lms[..., step, step], low)]
    return columns[0], columns[1]


def _least_squares(columns: Tensor, target: Tensor) -> Tensor:
    """[N, K], [N, 1] -> [1, K, 1, 1]; equal or empty columns are allowed."""
    gram = columns.mT @ columns
    return (torch.linalg.pinv(gram, hermitian=True) @ (columns.mT @ target))[None, ..., None]


def _weighted(pair: ClassicalPair, bands: Tensor) -> Tensor:
    """The sum of ``bands`` [B, 1, H, W] with the weights by which lms explains PAN best."""
    weights = pair.of_scene(
        "weights", lambda: _least_squares(*_at_ms_scale(pair, pair.lms, pair.pan)).to(bands.dtype)
    )
    return (bands * weights).sum(1, keepdim=True)


def brovey(pair: ClassicalPair) -> Tensor:
    """Weighted Brovey: lms * PAN / intensity.

    The intensity is the weighted sum of bands that explains PAN best at the resolution of the MS
    image (least squares), which also absorbs PAN's gain.
    """
    return high_pass_modulation(pair, "brovey", pair.lms, pair.pan, _weighted(pair, pair.lms))


def gsa(pair: ClassicalPair) -> Tensor:
    """Gram-Schmidt adaptive (Aiazzi, Baronti and Selva, IEEE TGRS 2007).

    Intensity by least squares with an offset; each band takes PAN - intensity with the gain
    cov(intensity, band) / var(intensity).
    """
    lms, pan = centred(pair, "lms"), centred(pair, "pan")
    weights = pair.of_scene(
        "centred weights", lambda: _least_squares(*_at_ms_scale(pair, lms, pan)).to(lms.dtype)
    )
    intensity = (lms * weights).sum(1, keepdim=True)
    gain = pair.of_scene(
        "gsa gain", lambda: divide(covariance(lms, intensity), covariance(intensity, intensity))
    )
    return pair.lms + gain * (pan - intensity)


def _haze(ms: Tensor) -> Tensor:
    """Path radiance of every band [1, C, 1, 1], from the darkest pixels of the MS image.

    Four bands (blue, green, red, near infrared): fixed shares of the first percentile, less for
    longer waves; otherwise the minimum. Taken before interpolation, which undershoots.
    """
    pixels = ms.double().movedim(1, 0).flatten(1)
    if ms.shape[1] == len(_HAZE_SHARES):
        rank = max(math.ceil(0.01 * pixels.shape[-1]), 1)
        shares = torch.tensor(_HAZE_SHARES, dtype=pixels.dtype, device=pixels.device)
        dark = shares * pixels.kthvalue(rank, dim=-1).values
    else:
        dark = pixels.amin(-1)
    return dark.clamp_min(0).to(ms.dtype)[None, :, None, None]


def bt_h(pair: ClassicalPair) -> Tensor:
    """Brovey with haze correction (BT-H): (lms - haze) * PAN / intensity + haze.

    Lolli, Alparone, Garzelli and Vivone, "Haze correction for contrast-based multispectral
    pansharpening", IEEE GRSL 2017. The intensity is the weighted sum of the haze-free bands, the
    weights those of `brovey`; PAN is matched to it in mean and standard deviation.
    """
    haze = pair.of_scene("haze", lambda: _haze(pair.ms))
    clear = pair.lms - haze
    intensity = _weighted(pair, clear)
    gain = sum(float(g) for g in pair.gains) / len(pair.gains)
    pan = centred(pair, "pan")
    scale = pair.of_scene(
        "bt-h scale", lambda: divide(deviation(intensity), deviation(pair.lowpass(pan, (gain,))))
    )
    level = pair.of_scene("bt-h mean", lambda: mean(intensity))
    return haze + high_pass_modulation(pair, "bt-h", clear, scale * pan + level, intensity)


def rcs_with(radius: int) -> Callable[[ClassicalPair], Tensor]:
    """Ratio component substitution with a smoothing window of ``2 * radius + 1`` pixels."""
    width = 2 * radius + 1
    bank = FilterBank(((1.0 / width,) * width,), -radius, 1)

    def rcs(pair: ClassicalPair) -> Tensor:
        """lms * PAN / smoothed PAN, the smoothing a plain mean, borders replicated.

        The Orfeo Toolbox's ``rcs`` and what its BundleToPerfectSensor applies.
        """
        smooth = filter_axis(filter_axis(pair.pan, -2, bank, "replicate"), -1, bank, "replicate")
        return high_pass_modulation(pair, f"rcs {radius}", pair.lms, pair.pan, smooth)

    return rcs


rcs = rcs_with(RCS_RADIUS)
