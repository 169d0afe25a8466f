"""Scenes with known truth: drawn, or delivered pairs degraded by Wald's protocol."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from ksdiff.errors import KSDiffError
from ksdiff.images.fill import fill_invalid
from ksdiff.images.pair import MIN_SIDE
from ksdiff.images.translation import shift
from ksdiff.images.wald import degrade_ms, degrade_pan
from ksdiff.io.geotiff import quantise, write_scene
from ksdiff.io.outputs import check_output
from ksdiff.io.rasters import ScenePair, open_pair
from ksdiff.sensors import sensor_for
from ksdiff.synthetic.scene import procedural_scene

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
    pan = shift(_whole(patch.pan, patch.pan_valid), -off_centre[0], -off_centre[1])
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
        pan_decimated=True,
    )


def simulate_files(
    pan: str | Path,
    ms: str | Path,
    folder: str | Path,
    name: str,
    sensor: str | None = None,
    overwrite: bool = False,
) -> str:
    """`simulate_pair` for two files; makes the folder. Returns the name."""
    with open_pair(pan, ms) as pair:
        _claim(folder, [name], overwrite)
        simulate_pair(pair, folder, name, sensor)
    return name


def draw_scenes(
    folder: str | Path,
    name: str,
    count: int = 1,
    size: int = 1024,
    bands: int = 4,
    ratio: int = 4,
    sensor: str | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> list[str]:
    """Write ``count`` procedural scenes with seeds from ``seed`` on; makes the folder.

    Returns:
        Their names: ``name``, or ``name_0``, ``name_1``, … where there are several.

    Raises:
        KSDiffError: impossible sizes, or files that are there already.
    """
    names = [name] if count == 1 else [f"{name}_{index}" for index in range(count)]
    for index, each in enumerate(names):
        scene = procedural_scene(seed + index, size, bands, ratio, sensor)
        if index == 0:
            _claim(folder, names, overwrite)
        described = sensor_for(sensor, bands, ratio).band_names
        write_scene(folder, each, *scene, descriptions=described)
    return names


def _whole(values: Tensor, valid: Tensor) -> Tensor:
    """Without holes, and in float64, so that integers degrade as in the reference."""
    known = valid.sum((-1, -2), keepdim=True).clamp_min(1)
    mean = (values * valid).sum((-1, -2), keepdim=True) / known
    return fill_invalid(values, valid, mean, _FILL_REACH).double()


def _all_of(valid: Tensor, ratio: int) -> Tensor:
    """Coarse pixels all of whose fine pixels are valid."""
    return F.avg_pool2d(valid.double(), ratio) == 1


def _stored(values: Tensor, valid: Tensor, dtype: str, nodata: float | None) -> np.ndarray:
    return quantise(values[0].numpy(), valid[0].numpy(), dtype, nodata)


def _claim(folder: str | Path, names: list[str], overwrite: bool) -> None:
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KSDiffError(f"out {folder}: cannot be made a folder: {error.strerror}") from None
    for name in names:
        for part in ("pan", "ms", "gt"):
            check_output(folder / f"{name}_{part}.tif", overwrite)
