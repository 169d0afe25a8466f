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
    step = slice(pair.ratio // 2, None, pair.ratio)
    # Where PAN is sampled: the MS image itself if it was decimated there, else its interpolation.
    ms = pair.lms[..., step, step].double()
    low = mtf_filter(ms, pair.gains, pair.ratio)
    pan = degrade_ms(pair.pan.double(), (pair.pan_gain,), pair.ratio)
    columns = torch.cat((pan, -low), 1).flatten(2)
    images = torch.cat((pair.pan, -pair.lms), 1)
    gram, targets = columns @ columns.mT, columns @ (ms - low).flatten(2).mT
    coefficients = torch.stack(
        [
            torch.stack([_nonnegative(a, b) for b in target.unbind(-1)])
            for a, target in zip(gram, targets, strict=True)
        ]
    ).to(pair.lms)
    return pair.lms + torch.einsum("bck,bkhw->bchw", coefficients, images)


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
