"""Quality indexes as the DLPan-Toolbox defines them, vectorised over batch and blocks."""

from ksdiff.metrics.hypercomplex import q2n
from ksdiff.metrics.no_reference import d_lambda, d_lambda_k, d_s, hqnr, qnr
from ksdiff.metrics.spatial import psnr, scc, ssim
from ksdiff.metrics.spectral import ergas, sam
from ksdiff.metrics.tables import cut_border, full_indexes, reduced_indexes

__all__ = [
    "cut_border",
    "d_lambda",
    "d_lambda_k",
    "d_s",
    "ergas",
    "full_indexes",
    "hqnr",
    "psnr",
    "q2n",
    "qnr",
    "reduced_indexes",
    "sam",
    "scc",
    "ssim",
]
