"""Band-dependent spatial detail with physical constraints: injection learnt at reduced scale."""

import numpy as np
import torch
from torch import Tensor

from ksdiff.baselines.pair import Pair
from ksdiff.images.wald import degrade_ms, mtf_filter


def bdsd_pc(pair: Pair) -> Tensor:
    """BDSD-PC: lms_b + g_b (PAN - sum_c w_bc lms_c), with g_b and w_bc not negative.

    Vivone, "Robust band-dependent spatial-detail approaches for panchromatic sharpening", IEEE TGRS
    2019. The coefficients are those with which PAN and MS, both through their MTFs, give best
    (least squares) the detail that the MS image loses by its MTF.
    """
    coefficients = pair.of_scene("bdsd-pc coefficients", lambda: _coefficients(pair)).to(pair.lms)
    images = torch.cat((pair.pan, -pair.lms), 1)
    return pair.lms + torch.einsum("ck,bkhw->bchw", coefficients, images)


def _coefficients(pair: Pair) -> Tensor:
    """Of PAN and the bands in every band [C, 1 + C]."""
    step = slice(pair.ratio // 2, None, pair.ratio)
    # Where PAN is sampled: the MS image itself if it was decimated there, else its interpolation.
    ms = pair.lms[..., step, step].double()
    low = mtf_filter(ms, pair.gains, pair.ratio)
    pan = degrade_ms(pair.pan.double(), (pair.pan_gain,), pair.ratio)
    columns, lost = (x.movedim(1, 0).flatten(1) for x in (torch.cat((pan, -low), 1), ms - low))
    gram, targets = columns @ columns.mT, columns @ lost.mT
    return torch.stack([_nonnegative(gram, target) for target in targets.mT])


def _nonnegative(gram: Tensor, target: Tensor) -> Tensor:
    return torch.from_numpy(nonnegative_least_squares(gram.cpu().numpy(), target.cpu().numpy()))


def nonnegative_least_squares(gram: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The x >= 0 that minimises |A x - y|², from A^T A [K, K] and A^T y [K].

    The active-set method of Lawson and Hanson (1974) on the normal equations; K is a handful.
    """
    scale = np.sqrt(np.diag(gram))
    scale[scale == 0] = 1.0
    gram, target = gram / np.outer(scale, scale), target / scale
    x, free = np.zeros_like(target), np.zeros(target.shape, bool)
    limit = 1e-10 * max(np.abs(target).max(initial=0.0), np.finfo(float).tiny)
    for _ in range(3 * len(target)):
        slope = np.where(free, -np.inf, target - gram @ x)
        if slope.max() <= limit:
            break
        free[slope.argmax()] = True
        while free.any():
            wanted = np.zeros_like(x)
            wanted[free] = np.linalg.lstsq(gram[np.ix_(free, free)], target[free], rcond=None)[0]
            if (wanted[free] > 0).all():
                x = wanted
                break
            blocked = free & (wanted <= 0)
            share = np.min(x[blocked] / np.maximum(x[blocked] - wanted[blocked], 1e-300))
            x = x + share * (wanted - x)
            free &= x > 1e-14
            x[~free] = 0.0
    return x / scale
