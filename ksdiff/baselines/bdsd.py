"""Band-dependent spatial detail with physical constraints: injection learnt at reduced scale."""

import numpy as np
import torch
from torch import Tensor

from ksdiff.baselines.pair import ClassicalPair
from ksdiff.images.wald import degrade_ms, mtf_filter


def bdsd_pc(pair: ClassicalPair) -> Tensor:
    """BDSD-PC: lms_b + g_b (PAN - sum_c w_bc lms_c), with g_b and w_bc not negative.

    Vivone, "Robust band-dependent spatial-detail approaches for panchromatic sharpening", IEEE TGRS
    2019. The coefficients are those with which PAN and MS, both through their MTFs, give best
    (least squares) the detail that the MS image loses by its MTF.
    """
    coefficients = pair.of_scene("bdsd-pc coefficients", lambda: _coefficients(pair)).to(pair.lms)
    images = torch.cat((pair.pan, -pair.lms), 1)
    return pair.lms + torch.einsum("ck,bkhw->bchw", coefficients, images)


def _coefficients(pair: ClassicalPair) -> Tensor:
    """Coefficients of PAN and the bands for every band [C, 1 + C]."""
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

    `scipy.optimize.nnls` on a root of the normal equations: A itself has a row for every pixel.
    """
    from scipy.optimize import nnls

    scale = np.sqrt(np.diag(gram))
    scale[scale == 0] = 1.0
    values, vectors = np.linalg.eigh(gram / np.outer(scale, scale))
    kept = values > 1e-12 * values[-1]
    if not kept.any():  # nothing to learn from, as in an image of zeros; nnls needs a row
        return np.zeros(len(gram))
    root, basis = np.sqrt(values[kept]), vectors.T[kept]
    return nnls(root[:, None] * basis, basis @ (target / scale) / root)[0] / scale
