"""MS, PAN and fused side by side in a PNG."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from ksdiff.images.colours import Stretch, colour_bands
from ksdiff.images.pair import Pair
from ksdiff.images.registration import Registration
from ksdiff.inference.scene import PreparedScene
from ksdiff.inference.survey import most_detailed
from ksdiff.inference.windows import Part
from ksdiff.io.outputs import atomic

_PANEL = 640  # pixels, the longer side of a panel at most
_ZOOM = 320  # PAN pixels, side of the part shown at full resolution where the whole is reduced
_ARROW = 60  # pixels, the longest arrow
_COLOUR, _UNSEEN = "#ffb000", "#ff3860"
_GAP, _TITLE = 8, 26  # pixels
_DPI = 100


class _Described(Pair, Protocol):
    @property
    def descriptions(self) -> tuple[str | None, ...]: ...


class Preview:
    """A picture of a scene and its fused image, from the parts as they are finished.

    Small scenes are shown pixel by pixel. Of large ones a reduced overview comes first and the
    part with the most detail at full resolution below. Arrows on PAN show how registration moved
    it, longer than it was; crosses, windows that do not show where it lies. MS and fused share one
    stretch per band, from the percentiles of MS, so that a difference in colour is a difference in
    the data; MS pixels are shown as the squares they are, and PAN as it was fused. Pixels without
    data are white.

    Args:
        pair: the scene as delivered, for its shape, bands and their descriptions.
        scene: what was measured of it.
    """

    def __init__(self, pair: _Described, scene: PreparedScene) -> None:
        self._colours = colour_bands(pair.bands, pair.descriptions, scene.sensor.band_names)
        height, width = pair.shape
        step = max(1.0, max(pair.shape) / _PANEL)
        size = round(pair.shape[0] / step), round(pair.shape[1] / step)
        whole = slice(0, height), slice(0, width)
        self._rows = [_Row(f"{height} x {width} PAN pixels", whole, size)]
        if step > 1:
            at = most_detailed(pair.shape, scene.surveyed, pair.ratio, _ZOOM)
            top, left, rows, columns = at
            area = slice(top, top + rows), slice(left, left + columns)
            title = f"{rows} x {columns} PAN pixels at row {top}, column {left}"
            self._rows.append(_Row(title, area, (rows, columns), zoom=2))
        self._arrows = Arrows.of(scene.registration, size[0] / height)

    def add(self, part: Part) -> None:
        """Add a finished part; each pixel of the scene comes once."""
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
        figure = _compose(rows, stretches, self._arrows)
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
        for name, image in images.items():
            image = image[:, inside[0], inside[1]]
            known = np.isfinite(image)
            for total, values in (
                (self.sums[name], np.where(known, image, 0.0)),
                (self.counts[name], known.astype(float)),
            ):
                values = np.add.reduceat(np.add.reduceat(values, rows[1], 1), columns[1], 2)
                total[:, rows[0][:, None], columns[0]] += values

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


class Arrows(NamedTuple):
    """How registration moved PAN, in pixels of the overview."""

    starts: np.ndarray  # [N, 2] (y, x) of windows that show where PAN lies
    steps: np.ndarray  # [N, 2] (dy, dx) by which it was moved there, longer by ``factor``
    factor: float
    unseen: np.ndarray  # [M, 2] (y, x) of windows that do not

    @classmethod
    def of(cls, found: Registration, scale: float) -> Arrows:
        """For an overview of ``scale`` pixels a PAN pixel."""
        places = np.array([each[:2] for each in found.windows]).reshape(-1, 2)
        trusted = np.array([each.trusted for each in found.windows], dtype=bool)
        starts = places[trusted]
        if found.field is not None:
            steps = -found.field.at(starts)
        else:
            steps = np.broadcast_to(np.negative(found.shift), starts.shape)
        longest = np.hypot(*steps.T).max(initial=0.0) * scale
        factor = float(f"{_ARROW / longest:.1g}") if longest else 0.0
        return cls(scale * starts, scale * factor * steps, factor, scale * places[~trusted])

    def draw(self, axes: Axes) -> str:
        """Draw them, and give the words that explain them."""
        said = []
        if self.factor:
            axes.quiver(
                *self.starts.T[::-1],
                *self.steps.T[::-1],
                angles="xy",
                scale_units="xy",
                scale=1,
                units="dots",
                color=_COLOUR,
                edgecolor="black",
                linewidth=0.5,
                width=3,
            )
            said.append(f"moved as the arrows show, {self.factor:g} times longer")
        if len(self.unseen):
            axes.plot(*self.unseen.T[::-1], "x", color=_UNSEEN, markersize=7, markeredgewidth=2)
            said.append("its place not found at the crosses")
        return ": ".join(("PAN", "; ".join(said))) if said else "PAN"


def _compose(
    rows: list[tuple[str, dict[str, np.ndarray]]],
    stretches: dict[str, Stretch],
    arrows: Arrows,
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
            if panel == "pan" and images is rows[0][1]:
                axes.set_xlim(-0.5, image.shape[2] - 0.5)
                axes.set_ylim(image.shape[1] - 0.5, -0.5)
                names["pan"] = arrows.draw(axes)
            place = left / width, (top + 6) / height
            figure.text(*place, names[panel], fontsize=9, family="sans-serif")
        top -= images["pan"].shape[1]
    return figure
