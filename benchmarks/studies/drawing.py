"""Scenes of any size, written strip by strip: a drawn landscape, mirrored again and again."""

from pathlib import Path

import numpy as np
import rasterio
import torch
from rasterio.transform import Affine
from rasterio.windows import Window

from ksdiff.images.wald import degrade_pan_as_ms
from ksdiff.sensors import sensor_for
from ksdiff.synthetic.scene import procedural_scene

RATIO = 4
_PATTERN = 1000  # pixels: side of what is repeated; it shares no borders with windows of 512
_STRIP = 256  # pixels, the side of the tiles, too
_NOISE = 1.5  # DN, of every pixel's own
_MOST = 2047  # DN
_PHASE = ((RATIO - 1) / 2,) * 2  # corners coincide, and so do mirrored images


def draw(folder: Path, size: int, bands: int) -> tuple[Path, Path]:
    """Write pan.tif and ms.tif, uint16 of 11 bits, uncompressed, in memory that does not grow.

    Light varies slowly over the scene, and noise is new everywhere, so that no part is another's.

    Args:
        size: side of PAN in pixels, a multiple of the ratio.
    """
    pan, _, gt = procedural_scene(seed=0, size=_PATTERN, bands=bands, ratio=RATIO)
    gains = sensor_for(None, bands, RATIO).ms_gains
    truth = torch.from_numpy(gt.astype(np.float32))[:, None, None]
    ms = [
        degrade_pan_as_ms(band, (gain,), RATIO, "symmetric", _PHASE)[0, 0].numpy()
        for band, gain in zip(truth, gains, strict=True)
    ]
    return (
        _write(folder / "pan.tif", pan, size, 1),
        _write(folder / "ms.tif", np.stack(ms), size // RATIO, RATIO),
    )


def _write(path: Path, pattern: np.ndarray, side: int, step: int) -> Path:
    random = np.random.default_rng(step)
    period = pattern.shape[-1]
    mirrored = np.pad(np.arange(period), (0, max(side - period, 0)), "symmetric")
    centres = (np.arange(side) + 0.5) * step  # of the pixels, in PAN pixels
    tiles = {"tiled": True, "blockxsize": _STRIP, "blockysize": _STRIP, "BIGTIFF": "IF_SAFER"}
    place = {"crs": "EPSG:32631", "transform": Affine(step / 2, 0, 5e5, 0, -step / 2, 5.4e6)}
    size = {"count": len(pattern), "height": side, "width": side, "dtype": "uint16"}
    with rasterio.open(path, "w", driver="GTiff", **size, **place, **tiles) as file:
        for top in range(0, side, _STRIP):
            rows = slice(top, min(top + _STRIP, side))
            y, x = centres[rows, None], centres
            light = (1 + 0.1 * np.sin(y / 1700) * np.cos(x / 2300)).astype(np.float32)
            values = pattern[:, mirrored[rows]][:, :, mirrored[:side]] * light
            values += _NOISE * random.standard_normal(values.shape, dtype=np.float32)
            values = np.clip(np.rint(values), 0, _MOST).astype(np.uint16)
            file.write(values, window=Window(0, top, side, rows.stop - top))
    return path
