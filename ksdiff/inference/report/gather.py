"""Pixel data of a report, gathered in one pass over PAN, MS and the fused image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from rasterio.windows import Window
from torch import Tensor

from ksdiff.images.colours import colour_bands
from ksdiff.images.reduced import Reduced
from ksdiff.inference.classical import classical
from ksdiff.inference.progress import Stage, silent
from ksdiff.inference.scene import PreparedScene
from ksdiff.inference.survey import sample_windows
from ksdiff.inference.windows import Part, fused_windows
from ksdiff.io.image import Image

_OVERVIEW = 1536  # pixels, the longer side of the picture of the whole
_DETAIL = 512  # PAN pixels, side of the parts shown at full resolution beside a reduced whole
_DETAILS = 4
_SPECTRA = 128  # sampled pixels along a side of a picture
_SPECTRA_BYTES = 2**20  # of all spectra of a picture: fewer samples where bands are many
_BINS = 64
_SPREAD = 4  # standard deviations on either side of the mean that a histogram shows


class Spectra:
    """MS before and the fused image after, at pixels of a grid over an area.

    Args:
        area: rows and columns in PAN pixels, whole MS pixels.
        scene: for its ratio, phase and bands.
    """

    def __init__(self, area: tuple[slice, slice], scene: PreparedScene) -> None:
        pair = scene.pair
        most = min(_SPECTRA, math.isqrt(_SPECTRA_BYTES // (2 * pair.bands)))
        coarse = []
        for side in area:
            first, count = side.start // pair.ratio, (side.stop - side.start) // pair.ratio
            coarse.append(np.unique(np.linspace(0, count - 1, min(count, most)).round()) + first)
        self._ratio = pair.ratio
        self._ms = [at.astype(int) for at in coarse]
        # The PAN pixel at the centre of an MS pixel lies in the block that belongs to it.
        self.rows, self.columns = (
            at * pair.ratio + np.clip(round(phase), 0, pair.ratio - 1)
            for at, phase in zip(self._ms, pair.phase, strict=True)
        )
        shape = (pair.bands, len(self.rows), len(self.columns))
        self.before, self.after = (np.full(shape, np.nan, dtype=np.float32) for _ in range(2))

    def add(self, ms: np.ndarray, fused: np.ndarray, top: int, left: int) -> None:
        """From a part with its corner at (top, left): ms [C, h / ratio, w / ratio] and
        fused [C, h, w], NaN without data."""
        inside, coarse, fine = [], [], []
        for own, pixels, start, length in zip(
            self._ms, (self.rows, self.columns), (top, left), fused.shape[1:], strict=True
        ):
            first = start // self._ratio
            here = np.flatnonzero((own >= first) & (own < first + length // self._ratio))
            inside.append(here)
            coarse.append(own[here] - first)
            fine.append(pixels[here] - start)
        rows, columns = np.ix_(*inside)
        ms_rows, ms_columns = np.ix_(*coarse)
        fused_rows, fused_columns = np.ix_(*fine)
        self.before[:, rows, columns] = ms[:, ms_rows, ms_columns]
        self.after[:, rows, columns] = fused[:, fused_rows, fused_columns]


class View:
    """Pictures of an area at some resolution, and spectra in it."""

    def __init__(
        self, area: tuple[slice, slice], size: tuple[int, int], scene: PreparedScene
    ) -> None:
        self.area, self.size = area, size
        bands = {"pan": 1, "ms": 3, "fused": 3}
        self._images = {name: Reduced(area, size, count) for name, count in bands.items()}
        self.spectra = Spectra(area, scene)

    def add(self, images: dict[str, np.ndarray], top: int, left: int) -> None:
        for name, image in images.items():
            self._images[name].add(image, top, left)

    def images(self) -> dict[str, np.ndarray]:
        """PAN [1, h, w], MS and fused [3, h, w], NaN without data."""
        return {name: image.mean() for name, image in self._images.items()}


class Histogram:
    """Counts and moments of one band before and after."""

    def __init__(self, mean: float, deviation: float) -> None:
        self.low = mean - _SPREAD * deviation if mean - _SPREAD * deviation > 0 else 0.0
        self.high = max(mean + _SPREAD * deviation, self.low + 1e-6)
        self.counts = np.zeros((2, _BINS))
        self._total, self._squares = np.zeros(2), np.zeros(2)

    def add(self, which: int, values: np.ndarray) -> None:
        """Values with data, of MS (0) or fused (1); the outermost bins take what lies beyond."""
        values = values.astype(np.float64)
        place = (values - self.low) / (self.high - self.low) * _BINS
        bins = np.clip(place, 0, _BINS - 1).astype(int)
        self.counts[which] += np.bincount(bins, minlength=_BINS)
        self._total[which] += values.sum()
        self._squares[which] += np.square(values).sum()

    @property
    def moments(self) -> list[tuple[float, float]]:
        """Mean and standard deviation of MS and fused; NaN without data."""
        with np.errstate(invalid="ignore", divide="ignore"):
            count = self.counts.sum(1)
            mean = self._total / count
            deviation = np.sqrt(np.maximum(self._squares / count - mean**2, 0))
        return list(zip(mean.tolist(), deviation.tolist(), strict=True))


@dataclass
class Gathered:
    """The result of one pass over a scene."""

    views: list[View]  # the whole first, then parts at full resolution
    histograms: list[Histogram]  # by band
    valid: float = 0.0  # share of pixels with data in all bands of the fused image

    @classmethod
    def of(
        cls,
        scene: PreparedScene,
        fused: Image,
        descriptions: Sequence[str | None],
        tile: int = 512,
        together: bool = False,
        stage: Stage = silent,
    ) -> Gathered:
        """Read a scene and its fused image once.

        Args:
            fused: on the grid of the scene.
            descriptions: of the bands, by which colours are found.
            together: whether the fused bands lie on each other, see `SharpenOptions`.
        """
        pair = scene.pair
        colours = colour_bands(pair.bands, tuple(descriptions))
        statistics = scene.statistics
        means = statistics.ms_mean[0].tolist()
        spreads = (statistics.ms_mean * statistics.spread)[0].tolist()
        found = cls(_views(scene), [Histogram(*at) for at in zip(means, spreads, strict=True)])

        def named(name: str, count: int) -> Callable[[], None]:
            return stage("Reporting" if name == "Sharpening" else name, count)

        interpolate = classical(scene, "exp", together)
        for part in fused_windows(scene, interpolate, tile, stage=named):
            found._add(part, fused, colours)
        found.valid /= math.prod(pair.shape)
        return found

    def _add(self, part: Part, fused: Image, colours: list[int]) -> None:
        top, left = part.top, part.left
        height, width = part.fused.shape[1:]
        read = fused.read(Window(left, top, width, height))
        after, before = (
            _known(*(x[0] for x in read)),
            _known(part.source.ms[0], part.source.ms_valid[0]),
        )
        images = {
            "pan": _known(part.source.pan[0], part.source.pan_valid[0]),
            "ms": _known(part.fused, part.valid)[colours],
            "fused": after[colours],
        }
        for view in self.views:
            view.add(images, top, left)
            view.spectra.add(before, after, top, left)
        for histogram, *bands in zip(self.histograms, before, after, strict=True):
            for which, band in enumerate(bands):
                histogram.add(which, band[np.isfinite(band)])
        self.valid += float(np.isfinite(after).all(0).sum())


def _views(scene: PreparedScene) -> list[View]:
    shape, ratio = scene.pair.shape, scene.pair.ratio
    step = max(1.0, max(shape) / _OVERVIEW)
    size = max(1, round(shape[0] / step)), max(1, round(shape[1] / step))
    views = [View((slice(0, shape[0]), slice(0, shape[1])), size, scene)]
    if step > 1:
        places = sample_windows(shape, scene.surveyed, ratio, _DETAIL, _DETAILS)
        for top, left, height, width in places:
            area = slice(top, top + height), slice(left, left + width)
            views.append(View(area, (height, width), scene))
    return views


def _known(values: Tensor, valid: Tensor) -> np.ndarray:
    return np.where(valid.numpy(), values.numpy(), np.nan)
