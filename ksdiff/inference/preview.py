"""MS, PAN and fused side by side in a PNG."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rasterio.enums import Resampling
from rasterio.windows import Window

from ksdiff.images.pair import Patch
from ksdiff.io.outputs import atomic
from ksdiff.io.rasters import ScenePair

_PANEL = 640  # pixels, the longer side of a panel at most
_ZOOM = 320  # PAN pixels, side of the part shown at full resolution where the whole is reduced
_GAP, _TITLE = 8, 26  # pixels
_PERCENTILES = (1, 99)
_MEDIAN_GREY = 0.35  # of the stretched MS or PAN, as far as the gamma may go
_LEAST_GAMMA = 0.5
_DPI = 100


class _Row(NamedTuple):
    title: str
    pan: np.ndarray  # [1, h, w]
    ms: np.ndarray  # [3, h, w]
    fused: np.ndarray  # [3, h, w]


def write_preview(pair: ScenePair, fused: str | Path, out: str | Path) -> None:
    """Show a scene and its fused image.

    Small scenes are shown pixel by pixel. Of large ones a reduced overview comes first and the
    middle of the scene at full resolution below. MS and fused share one stretch per band, from the
    percentiles of MS, so that a difference in colour is a difference in the data; MS pixels are
    shown as the squares they are. Pixels without data are white.

    Args:
        pair: the scene.
        fused: its fused image on disk.
        out: PNG to write, atomically; an existing one is replaced.
    """
    colours = colour_bands(pair.bands, pair.descriptions)
    step = max(1.0, max(pair.shape) / _PANEL)
    size = tuple(round(length / step) for length in pair.shape)
    with rasterio.open(fused) as image:
        pan, ms = pair.reduced(size)
        overview = _masked(image, colours, Window(0, 0, image.width, image.height), size)
        stretches = _Stretch.of(ms[colours]), _Stretch.of(pan)
        rows = [_Row(f"{pair.shape[0]} x {pair.shape[1]} PAN pixels", pan, ms[colours], overview)]
        if step > 1:
            side = tuple(min(_ZOOM, length) // pair.ratio * pair.ratio for length in pair.shape)
            at = _middle(pair.shape, side, pair.ratio)
            patch = pair.read(*at, *side)
            window = Window(at[1], at[0], side[1], side[0])
            detail = _masked(image, colours, window, (side[0] * 2, side[1] * 2))
            title = f"{side[0]} x {side[1]} PAN pixels at row {at[0]}, column {at[1]}"
            pan, ms = _expanded(patch, pair.ratio, 2)
            rows.append(_Row(title, pan, ms[colours], detail))
    figure = _compose(rows, *stretches)
    with atomic(out) as temporary:
        figure.savefig(temporary, format="png", dpi=_DPI, metadata={"Software": None})


def colour_bands(bands: int, descriptions: tuple[str | None, ...]) -> list[int]:
    """Indexes of red, green and blue, by the bands' descriptions or else by what is usual."""
    names = [(name or "").lower() for name in descriptions]
    if all(colour in names for colour in ("red", "green", "blue")):
        return [names.index(colour) for colour in ("red", "green", "blue")]
    usual = {2: [1, 0, 0], 3: [0, 1, 2], 8: [4, 2, 1]}
    return usual.get(bands, [2, 1, 0])


def _middle(shape: tuple[int, int], side: tuple[int, int], ratio: int) -> tuple[int, int]:
    return tuple(
        (length - part) // 2 // ratio * ratio for length, part in zip(shape, side, strict=True)
    )


def _masked(
    image: rasterio.DatasetReader, bands: list[int], window: Window, size: tuple[int, int]
) -> np.ndarray:
    """[3, h, w] float64, NaN where there is no data."""
    grows = size[0] > window.height
    values = image.read(
        [band + 1 for band in bands],
        window=window,
        out_shape=(len(bands), *size),
        resampling=Resampling.nearest if grows else Resampling.average,
        masked=True,
    )
    return values.astype(np.float64).filled(np.nan)


def _expanded(patch: Patch, ratio: int, zoom: int) -> tuple[np.ndarray, np.ndarray]:
    """PAN [1, h, w] and MS [C, h, w] with every pixel a square."""
    pan = np.where(patch.pan_valid[0], patch.pan[0], np.nan)
    ms = np.where(patch.ms_valid[0], patch.ms[0], np.nan)
    return (
        pan.repeat(zoom, 1).repeat(zoom, 2),
        ms.repeat(ratio * zoom, 1).repeat(ratio * zoom, 2),
    )


class _Stretch(NamedTuple):
    black: np.ndarray  # per band
    white: np.ndarray
    gamma: float

    @classmethod
    def of(cls, values: np.ndarray) -> _Stretch:
        """For an image [C, h, w] with NaN where there is no data.

        Clouds and metal roofs make most of a scene dark; one gamma for all bands lifts it.
        """
        known = values[:, np.isfinite(values).all(0)]
        if not known.size:
            known = np.zeros((len(values), 1))
        black, white = np.percentile(known, _PERCENTILES, axis=1)
        white = np.where(white > black, white, black + 1)
        middle = np.median(np.clip((known - black[:, None]) / (white - black)[:, None], 0.01, 0.99))
        gamma = np.clip(np.log(_MEDIAN_GREY) / np.log(middle), _LEAST_GAMMA, 1)
        return cls(black, white, float(gamma))

    def apply(self, values: np.ndarray) -> np.ndarray:
        """[C, h, w] to grey or colour [h, w, 3] in 0..1, white where there is no data."""
        black, white = self.black[:, None, None], self.white[:, None, None]
        grey = np.clip((values - black) / (white - black), 0, 1) ** self.gamma
        grey = np.where(np.isfinite(values).all(0), grey, 1.0)
        return np.broadcast_to(grey, (3, *grey.shape[1:])).transpose(1, 2, 0)


def _compose(rows: list[_Row], ms_stretch: _Stretch, pan_stretch: _Stretch) -> Figure:
    height = sum(row.pan.shape[1] + _TITLE for row in rows) + _GAP
    width = max(3 * row.pan.shape[2] for row in rows) + 4 * _GAP
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    top = height
    for title, pan, ms, fused in rows:
        top -= _TITLE
        panels = (
            (f"MS ({title})", ms_stretch.apply(ms)),
            ("PAN", pan_stretch.apply(pan)),
            ("fused", ms_stretch.apply(fused)),
        )
        for column, (name, panel) in enumerate(panels):
            left = _GAP + column * (panel.shape[1] + _GAP)
            box = (left, top - panel.shape[0], panel.shape[1], panel.shape[0])
            axes = figure.add_axes(
                (box[0] / width, box[1] / height, box[2] / width, box[3] / height)
            )
            axes.imshow(panel, interpolation="nearest", aspect="auto")
            axes.set_axis_off()
            figure.text(left / width, (top + 6) / height, name, fontsize=9, family="sans-serif")
        top -= pan.shape[1]
    return figure
