"""Multiresolution analysis: MTF-matched generalised Laplacian pyramids (Aiazzi et al. 2006).

PAN is centred before it is filtered: the MTF filters' DC gain is a little below 1, and would
otherwise leave a tenth of a percent of PAN's mean in the detail.
"""

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


def _matched_pan(pair: ClassicalPair) -> tuple[Tensor, Tensor]:
    """PAN matched to every band, and the same through the band's MTF, both [B, C, H, W].

    Mean and standard deviation are matched, PAN's deviation taken at the resolution of the MS
    image (histogram matching of the toolbox).
    """
    pan = centred(pair, "pan")
    low = pair.lowpass(pan)
    scale = pair.of_scene("matched scale", lambda: divide(deviation(pair.lms), deviation(low)))
    level = pair.of_scene("lms mean", lambda: mean(pair.lms))
    return scale * pan + level, scale * low + level


def mtf_glp(pair: ClassicalPair) -> Tensor:
    """Additive injection: lms + PAN - low-passed PAN, PAN matched to the band."""
    pan, low = _matched_pan(pair)
    return pair.lms + pan - low


def mtf_glp_fs(pair: ClassicalPair) -> Tensor:
    """Full-scale regression: the gain is cov(lms, PAN) / cov(PAN_low, PAN).

    Vivone, Restaino and Chanussot, "Full scale regression-based injection coefficients for
    panchromatic sharpening", IEEE TIP 2018.
    """
    pan = centred(pair, "pan")
    low = pair.lowpass(pan)
    gain = pair.of_scene(
        "regression gain", lambda: divide(covariance(pair.lms, pan), covariance(low, pan))
    )
    return pair.lms + gain * (pan - low)


def mtf_glp_hpm(pair: ClassicalPair) -> Tensor:
    """High-pass modulation: lms * PAN / low-passed PAN, PAN matched to the band.

    Vivone et al., "Contrast and error-based fusion schemes for multispectral image
    pansharpening", IEEE GRSL 2014.
    """
    pan, low = _matched_pan(pair)
    return high_pass_modulation(pair, "mtf-glp-hpm", pair.lms, pan, low)
