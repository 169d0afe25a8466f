"""All indexes of one image at once, as the rows of a table."""

from torch import Tensor

from ksdiff.images.expansion import Phase
from ksdiff.images.mtf import Gains
from ksdiff.metrics.checks import check_pair
from ksdiff.metrics.hypercomplex import q2n
from ksdiff.metrics.no_reference import d_lambda, d_lambda_k, d_s
from ksdiff.metrics.spatial import psnr, scc, ssim
from ksdiff.metrics.spectral import ergas, sam

DEFAULT_BORDER = 21


def cut_border(x: Tensor, border: int) -> Tensor:
    """The toolbox's ``I(d:end-d)``: ``[d-1:-d]`` in both directions; 0 cuts nothing.

    Args:
        x: [..., H, W].
    """
    if border < 0 or min(x.shape[-2:]) < 2 * border:
        raise ValueError(
            f"border: {border} pixels leave nothing of an image of {tuple(x.shape[-2:])}; "
            "give a smaller border"
        )
    return x[..., border - 1 : -border, border - 1 : -border] if border else x


def reduced_indexes(
    fused: Tensor, gt: Tensor, ratio: int, data_range: float, border: int = DEFAULT_BORDER
) -> dict[str, float]:
    """SAM, ERGAS, Q2n, SCC, PSNR and SSIM, mean over the batch.

    Args:
        fused, gt: [B, C, H, W] in DN.
        ratio: MS pixel size over PAN pixel size.
        data_range: largest possible DN.
        border: the toolbox's border cut d; papers on PanCollection use 21.
    """
    check_pair(fused=fused, gt=gt)
    fused, gt = cut_border(fused, border).double(), cut_border(gt, border).double()
    indexes = {
        "SAM": sam(fused, gt),
        "ERGAS": ergas(fused, gt, ratio),
        "Q2n": q2n(fused, gt),
        "SCC": scc(fused, gt),
        "PSNR": psnr(fused, gt, data_range),
        "SSIM": ssim(fused, gt, data_range),
    }
    return {name: value.mean().item() for name, value in indexes.items()}


def full_indexes(
    fused: Tensor,
    pan: Tensor,
    ms: Tensor,
    lms: Tensor,
    gains: Gains,
    ratio: int,
    phase: Phase | None = None,
) -> dict[str, float]:
    """D_lambda_K, D_s, HQNR, D_lambda and QNR, mean over the batch; no border is cut.

    Args:
        fused, lms: [B, C, H, W] in DN.
        pan: [B, 1, H, W].
        ms: [B, C, H/ratio, W/ratio]; only its shape is checked, the toolbox compares ``lms``.
        gains: [C] MTF gains of the MS bands.
        ratio: MS pixel size over PAN pixel size.
        phase: what ``lms`` was expanded with; None for ``interp23tap``.
    """
    expected = (*lms.shape[:2], lms.shape[2] // ratio, lms.shape[3] // ratio)
    if tuple(ms.shape) != expected:
        raise ValueError(f"ms: expected {expected} beside this lms, got {tuple(ms.shape)}")
    fused, pan, lms = fused.double(), pan.double(), lms.double()
    spectral_k = d_lambda_k(fused, lms, gains, ratio)
    spatial = d_s(fused, pan, lms, ratio, phase)
    spectral = d_lambda(fused, lms)
    indexes = {
        "D_lambda_K": spectral_k,
        "D_s": spatial,
        "HQNR": (1.0 - spectral_k) * (1.0 - spatial),
        "D_lambda": spectral,
        "QNR": (1.0 - spectral) * (1.0 - spatial),
    }
    return {name: value.mean().item() for name, value in indexes.items()}
