"""Wald's protocol applied to a delivered pair: its MS image becomes the truth."""

from __future__ import annotations

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from ksdiff.data.fill import fill_invalid
from ksdiff.data.outputs import quantise, write_scene
from ksdiff.data.scenes import MIN_SIDE, ScenePair
from ksdiff.data.wald import degrade_ms, degrade_pan, shift
from ksdiff.errors import KSDiffError
from ksdiff.sensors import sensor_for

_FILL_REACH = 32  # pixels, beyond the reach of the MTF filter


def simulate_pair(pair: ScenePair, folder: str | Path, name: str, sensor: str | None) -> None:
    """Write NAME_pan.tif, NAME_ms.tif and NAME_gt.tif, all one ratio coarser than ``pair``.

    The truth is the MS image; PAN is reduced onto its grid, whatever the phase was; the new MS
    image lies at the phase ``ratio // 2`` of Wald's protocol. The whole pair is held in memory.

    Args:
        pair: the delivered scene.
        folder: must exist.
        name: of the new scene.
        sensor: whose MTF to use; None for generic gains.

    Raises:
        KSDiffError: an unknown sensor, a scene that would become too small.
    """
    ratio = pair.ratio
    side = tuple(length // ratio // ratio * ratio for length in pair.shape)
    if min(side) < MIN_SIDE:
        raise KSDiffError(
            f"{pair.name}: {pair.shape[0]} x {pair.shape[1]} PAN pixels are too few to degrade; "
            f"expected at least {MIN_SIDE * ratio} x {MIN_SIDE * ratio}"
        )
    gains = sensor_for(sensor, pair.bands, ratio).ms_gains
    patch = pair.read(0, 0, side[0] * ratio, side[1] * ratio)
    gt = _whole(patch.ms, patch.ms_valid)
    off_centre = [at - (ratio - 1) / 2 for at in pair.phase]
    pan = shift(_whole(patch.pan, patch.pan_valid), *(-step for step in off_centre))
    write_scene(
        folder,
        name,
        _stored(
            degrade_pan(pan, ratio),
            _all_of(patch.pan_valid, ratio),
            pair.pan_dtype,
            pair.pan_nodata,
        ),
        _stored(
            degrade_ms(gt, gains, ratio), _all_of(patch.ms_valid, ratio), pair.dtype, pair.nodata
        ),
        _stored(gt, patch.ms_valid, pair.dtype, pair.nodata),
        transform=pair.ms_transform,
        crs=pair.crs,
        descriptions=pair.descriptions,
        nodata=pair.nodata,
        pan_nodata=pair.pan_nodata,
    )


def _whole(values: Tensor, valid: Tensor) -> Tensor:
    """Without holes, and in float64, so that integers degrade as in the reference."""
    known = valid.sum((-1, -2), keepdim=True).clamp_min(1)
    mean = (values * valid).sum((-1, -2), keepdim=True) / known
    return fill_invalid(values, valid, mean, _FILL_REACH).double()


def _all_of(valid: Tensor, ratio: int) -> Tensor:
    """Coarse pixels all of whose fine pixels are valid."""
    return F.avg_pool2d(valid.double(), ratio) == 1


def _stored(values: Tensor, valid: Tensor, dtype: str, nodata: float | None):
    return quantise(values[0].numpy(), valid[0].numpy(), dtype, nodata)
