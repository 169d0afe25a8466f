"""MS, PAN and fused side by side in a PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from ksdiff.images.colours import Stretch, colour_bands
from ksdiff.images.pair import Pair
from ksdiff.inference.windows import Part
from ksdiff.io.outputs import atomic

_PANEL = 640  # pixels, the longer side of a panel at most
_ZOOM = 320  # PAN pixels, side of the part shown at full resolution where the whole is reduced
_GAP, _TITLE = 8, 26  # pixels
_DPI = 100


class _Described(Pair, Protocol):
    descriptions: tuple[str | None, ...]


class Preview:
    """A picture of a scene and its fused image, from the parts as they are finished.

    Small scenes are shown pixel by pixel. Of large ones a reduced overview comes first and the
    middle of the scene at full resolution below. MS and fused share one stretch per band, from the
    percentiles of MS, so that a difference in colour is a difference in the data; MS pixels are
    shown as the squares they are, and PAN as it was fused. Pixels without data are white.

    Args:
        pair: the scene, for its shape, bands and their descriptions.
    """

    def __init__(self, pair: _Described) -> None:
        self._colours = colour_bands(pair.bands, pair.descriptions)
        height, width = pair.shape
        step = max(1.0, max(pair.shape) / _PANEL)
        size = tuple(round(length / step) for length in pair.shape)
        whole = slice(0, height), slice(0, width)
        self._rows = [_Row(f"{height} x {width} PAN pixels", whole, size)]
        if step > 1:
            sides = [min(_ZOOM, length) // pair.ratio * pair.ratio for length in pair.shape]
            top, left = (
                (length - side) // 2 // pair.ratio * pair.ratio
                for length, side in zip(pair.shape, sides, strict=True)
            )
            middle = slice(top, top + sides[0]), slice(left, left + sides[1])
            title = f"{sides[0]} x {sides[1]} PAN pixels at row {top}, column {left}"
            self._rows.append(_Row(title, middle, tuple(sides), zoom=2))

    def add(self, part: Part) -> None:
        """Take in a finished part; each pixel of the scene comes once."""
        ratio = part.source.pan.shape[-1] // part.source.ms.shape[-1]
        squares = _on_pan_grid(part.source.ms, part.source.ms_valid, self._colours, ratio)
        images = {
            "ms": squares,
            "pan": _known(part.source.pan[0], part.source.pan_valid[0]),
            "fused": _known(part.fused[self._colours], part.valid[self._colours]),
        }
        for row in self._rows:
            row.add(images, part.top, part.left)

    def write(self, out: str | Path) -> None:
        """Write the PNG, atomically; an existing one is replaced."""
        rows = [(row.title, row.images()) for row in self._rows]
        overview = rows[0][1]
        stretch = Stretch.of(overview["ms"])
        stretches = {"ms": stretch, "pan": Stretch.of(overview["pan"]), "fused": stretch}
        figure = _compose(rows, stretches)
        with atomic(out) as temporary:
            figure.savefig(temporary, format="png", dpi=_DPI, metadata={"Software": None})


class _Row:
    """One line of the picture: an area of the scene, averaged to some size."""

    def __init__(
        self, title: str, area: tuple[slice, slice], size: tuple[int, int], zoom: int = 1
    ) -> None:
        self.title, self.area, self.size, self.zoom = title, area, size, zoom
        self.sums = {name: np.zeros((bands, *size)) for name, bands in _PANELS.items()}
        self.counts = {name: np.zeros((bands, *size)) for name, bands in _PANELS.items()}

    def add(self, images: dict[str, np.ndarray], top: int, left: int) -> None:
        """Add what of images [bands, h, w] with their corner at (top, left) lies in the area."""
        shape = images["pan"].shape[1:]
        inside, bins = [], []
        for area, start, length, size in zip(self.area, (top, left), shape, self.size, strict=True):
            first, stop = max(area.start, start), min(area.stop, start + length)
            if first >= stop:
                return
            inside.append(slice(first - start, stop - start))
            at = np.arange(first, stop) - area.start
            bins.append(at * size // (area.stop - area.start))
        rows, columns = (np.unique(each, return_index=True) for each in bins)
        place = (slice(None), *np.ix_(rows[0], columns[0]))
        for name, image in images.items():
            image = image[:, inside[0], inside[1]]
            known = np.isfinite(image)
            for total, values in (
                (self.sums[name], np.where(known, image, 0.0)),
                (self.counts[name], known.astype(float)),
            ):
                values = np.add.reduceat(np.add.reduceat(values, rows[1], 1), columns[1], 2)
                total[place] += values

    def images(self) -> dict[str, np.ndarray]:
        """Means [bands, h, w] by panel, NaN without data."""
        return {
            name: np.divide(
                total,
                self.counts[name],
                out=np.full(total.shape, np.nan),
                where=self.counts[name] > 0,
            )
            .repeat(self.zoom, 1)
            .repeat(self.zoom, 2)
            for name, total in self.sums.items()
        }


_PANELS = {"ms": 3, "pan": 1, "fused": 3}  # bands of each


def _known(values: Tensor, valid: Tensor) -> np.ndarray:
    return np.where(valid.numpy(), values.numpy().astype(np.float64), np.nan)


def _on_pan_grid(ms: Tensor, valid: Tensor, bands: list[int], ratio: int) -> np.ndarray:
    """The bands [3, H, W] with every MS pixel a square."""
    return _known(ms[0, bands], valid[0, bands]).repeat(ratio, 1).repeat(ratio, 2)


def _shown(stretch: Stretch, values: np.ndarray) -> np.ndarray:
    """[C, h, w] to grey or colour [h, w, 3] in 0..1, white where there is no data."""
    picture = np.where(np.isfinite(values).all(0), stretch.apply(values), 1.0)
    return np.broadcast_to(picture, (3, *picture.shape[1:])).transpose(1, 2, 0)


def _compose(
    rows: list[tuple[str, dict[str, np.ndarray]]], stretches: dict[str, Stretch]
) -> Figure:
    height = sum(images["pan"].shape[1] + _TITLE for _, images in rows) + _GAP
    width = max(3 * images["pan"].shape[2] for _, images in rows) + 4 * _GAP
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    top = height
    for title, images in rows:
        top -= _TITLE
        names = {"ms": f"MS ({title})", "pan": "PAN", "fused": "fused"}
        for column, (panel, image) in enumerate(images.items()):
            left = _GAP + column * (image.shape[2] + _GAP)
            size = image.shape[2] / width, image.shape[1] / height
            axes = figure.add_axes((left / width, (top - image.shape[1]) / height, *size))
            axes.imshow(_shown(stretches[panel], image), interpolation="nearest", aspect="auto")
            axes.set_axis_off()
            label = {"fontsize": 9, "family": "sans-serif"}
            figure.text(left / width, (top + 6) / height, names[panel], **label)
        top -= images["pan"].shape[1]
    return figure
