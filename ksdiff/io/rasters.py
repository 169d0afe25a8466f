"""Pairs of PAN and MS rasters: checks, common grid, windows, validity masks."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import torch
from rasterio.enums import MaskFlags
from rasterio.io import DatasetReader
from rasterio.windows import Window
from torch import Tensor

from ksdiff.errors import KSDiffError
from ksdiff.images.pair import RATIOS, Patch, check_side, ratio_of_shapes, window_slices
from ksdiff.io.description import Description


class ScenePair:
    """Two open GeoTIFFs and the extent they share; a context manager. Made by `open_pair`."""

    def __init__(self, pan: DatasetReader, ms: DatasetReader):
        self._pan, self._ms = pan, ms
        _check_bands(pan, ms)
        _check_crs(pan, ms)
        offset, self.ratio = _relate(pan, ms)
        rows = _align("rows", offset[0], self.ratio, pan.height, ms.height, pan, ms)
        columns = _align("columns", offset[1], self.ratio, pan.width, ms.width, pan, ms)
        self.bands = ms.count
        self.shape = (rows.count * self.ratio, columns.count * self.ratio)
        self.phase = (rows.phase, columns.phase)
        self._pan_origin = (rows.pan_start, columns.pan_start)
        self._ms_origin = (rows.ms_start, columns.ms_start)
        check_side(self.shape, f"the extent shared by {pan.name} and {ms.name}")

    def __enter__(self) -> ScenePair:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self._pan.close()
        self._ms.close()

    @property
    def name(self) -> str:
        return f"{self._pan.name} and {self._ms.name}"

    @property
    def crs(self):
        return self._pan.crs

    @property
    def georeferenced(self) -> bool:
        return not self._pan.transform.is_identity

    @property
    def transform(self):
        """Affine transform of the PAN grid, cropped to the shared extent."""
        return self._pan.transform @ self._pan.transform.translation(*self._pan_origin[::-1])

    @property
    def gcps(self) -> tuple | None:
        """PAN's ground control points and their CRS, where they are its georeference."""
        points, crs = self._pan.gcps
        return (points, crs) if points and not self.georeferenced else None

    @property
    def rpcs(self):
        """PAN's rational polynomials, for the shared extent."""
        rpcs = self._pan.rpcs
        if rpcs is not None:
            rpcs.line_off -= self._pan_origin[0]
            rpcs.samp_off -= self._pan_origin[1]
        return rpcs

    @property
    def ms_transform(self):
        """Affine transform of the MS grid, cropped to the shared extent."""
        return self._ms.transform @ self._ms.transform.translation(*self._ms_origin[::-1])

    @property
    def dtype(self) -> str:
        """The data type of the MS bands, which the fused image keeps."""
        return self._ms.dtypes[0]

    @property
    def pan_dtype(self) -> str:
        return self._pan.dtypes[0]

    @property
    def descriptions(self) -> tuple[str | None, ...]:
        return self._ms.descriptions

    @property
    def about(self) -> Description:
        """What the MS file says of its bands and its making."""
        return Description.of(self._ms, range(1, self.bands + 1))

    @property
    def bits(self) -> int | None:
        """Bits of the MS values, where the file says that they are fewer than its data type's."""
        bits = self._ms.tags(1, ns="IMAGE_STRUCTURE").get("NBITS")
        return None if bits is None else int(bits)

    @property
    def nodata(self) -> float | None:
        """The value that marks pixels without data in the fused image.

        The MS file's own; where it declares none and yet pixels can lack data, NaN for floating
        point, else PAN's value if the data type holds it, else 0.
        """
        if self._ms.nodata is not None:
            return self._ms.nodata
        if not any(_can_lack_data(dataset) for dataset in (self._pan, self._ms)):
            return None
        return marker(self.dtype, self._pan.nodata)

    @property
    def pan_nodata(self) -> float | None:
        """The same for an image of PAN's kind."""
        if self._pan.nodata is not None or not _can_lack_data(self._pan):
            return self._pan.nodata
        return marker(self.pan_dtype, self._ms.nodata)

    def read(
        self, top: int = 0, left: int = 0, height: int | None = None, width: int | None = None
    ) -> Patch:
        """See `Pair.read`. A file that cannot be decoded raises KSDiffError."""
        pan, ms = window_slices(self.shape, self.ratio, top, left, height, width)
        return Patch.of(
            _read(self._pan, _moved(pan, self._pan_origin)),
            _read(self._ms, _moved(ms, self._ms_origin)),
        )

    def read_truth(self, path: str | Path) -> Tensor:
        """Ground truth [1, C, H, W] on the PAN grid of the shared extent, DN.

        Raises:
            KSDiffError: other bands than the MS, or a grid that is not PAN's.
        """
        with _open(path, "gt") as truth:
            if truth.count != self.bands:
                raise KSDiffError(
                    f"{path}: ground truth has {truth.count} bands, {self._ms.name} {self.bands}"
                )
            x, y = ~truth.transform @ (self.transform.c, self.transform.f)
            corner = (round(y), round(x))
            fits = (
                abs(y - corner[0]) < 0.01
                and abs(x - corner[1]) < 0.01
                and min(corner) >= 0
                and corner[0] + self.shape[0] <= truth.height
                and corner[1] + self.shape[1] <= truth.width
                and math.isclose(truth.transform.a, self.transform.a, rel_tol=1e-4)
                and math.isclose(truth.transform.e, self.transform.e, rel_tol=1e-4)
            )
            if not fits:
                raise KSDiffError(
                    f"{path}: ground truth must lie on the pixel grid of {self._pan.name}; "
                    f"its transform is {tuple(truth.transform)[:6]}, "
                    f"PAN's {tuple(self._pan.transform)[:6]}"
                )
            values, valid = _read(truth, Window(corner[1], corner[0], *self.shape[::-1]))
        if not valid.all():
            raise KSDiffError(f"{path}: ground truth has pixels without data; crop them away")
        return values


def open_pair(pan_path: str | Path, ms_path: str | Path) -> ScenePair:
    """Open a PAN and an MS raster as one scene.

    The shared extent is cut to whole MS pixels, each of which stands for ``ratio x ratio`` PAN
    pixels. Where the two grids do not line up, `ScenePair.phase` says by how much: it is the PAN
    coordinate of the centre of MS pixel (0, 0), ``(ratio - 1) / 2`` for grids whose corners
    coincide, and it may be fractional. Files without georeference are taken to cover the same
    ground.

    Raises:
        KSDiffError: a file that is missing or is no raster, other than one PAN band, fewer than two
            MS bands, complex values, exchanged roles, different CRS, grids rotated against each
            other, a ratio other than 2 or 4, no or too little overlap.
    """
    pan = _open(pan_path, "pan")
    try:
        ms = _open(ms_path, "ms")
        try:
            return ScenePair(pan, ms)
        except BaseException:
            ms.close()
            raise
    except BaseException:
        pan.close()
        raise


def _open(path: str | Path, role: str) -> DatasetReader:
    path = Path(path)
    if not path.exists():
        raise KSDiffError(f"{role} {path}: there is no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            dataset = rasterio.open(path)
    except rasterio.errors.RasterioError as error:
        raise KSDiffError(f"{role} {path}: not a readable raster: {error}") from None
    if dataset.count == 0:
        dataset.close()
        raise KSDiffError(f"{role} {path}: the file holds no raster band of its own")
    for band, dtype in enumerate(dataset.dtypes, start=1):
        if dtype.startswith("complex"):
            dataset.close()
            raise KSDiffError(f"{role} {path}: band {band} is {dtype}; expected real values")
    return dataset


def _check_bands(pan: DatasetReader, ms: DatasetReader) -> None:
    if pan.count > 1 and ms.count == 1:
        raise KSDiffError(
            f"pan and ms look exchanged: {pan.name} has {pan.count} bands, {ms.name} one"
        )
    if pan.count != 1:
        raise KSDiffError(f"pan {pan.name}: expected one band, got {pan.count}")
    if ms.count < 2:
        raise KSDiffError(f"ms {ms.name}: expected two bands or more, got {ms.count}")


def _check_crs(pan: DatasetReader, ms: DatasetReader) -> None:
    if pan.crs != ms.crs:
        raise KSDiffError(
            f"pan {pan.name} is in {_crs(pan)}, ms {ms.name} in {_crs(ms)}; "
            "reproject one to the other's (gdalwarp) or assign what is missing (gdal_edit -a_srs)"
        )


def _crs(dataset: DatasetReader) -> str:
    return dataset.crs.to_string() if dataset.crs else "no coordinate reference system"


def _relate(pan: DatasetReader, ms: DatasetReader) -> tuple[tuple[float, float], int]:
    """Where the MS grid begins in PAN pixels (y, x), and the ratio of the two pixel sizes."""
    located = [not dataset.transform.is_identity for dataset in (pan, ms)]
    if not any(located):
        return (0.0, 0.0), ratio_of_shapes(pan.shape, ms.shape)
    if not all(located):
        bare = (pan, ms)[located.index(False)]
        raise KSDiffError(f"{bare.name}: has no georeference, while its partner has one")
    to_pan = ~pan.transform @ ms.transform
    skew = max(abs(to_pan.b) * ms.height, abs(to_pan.d) * ms.width)
    if skew > 0.5 or to_pan.a <= 0 or to_pan.e <= 0:
        raise KSDiffError(
            f"pan {pan.name} and ms {ms.name} are rotated or mirrored against each other; "
            "warp one to the other's orientation"
        )
    ratio = round((to_pan.a + to_pan.e) / 2)
    drift = max(abs(to_pan.a - ratio) * ms.width, abs(to_pan.e - ratio) * ms.height)
    sizes = f"PAN pixels measure {_pixel(pan)}, MS pixels {_pixel(ms)}"
    if to_pan.a < 0.75 and to_pan.e < 0.75:
        raise KSDiffError(f"pan {pan.name} and ms {ms.name} look exchanged: {sizes}")
    wrong = max(abs(to_pan.a - ratio), abs(to_pan.e - ratio)) > 0.02 * ratio
    if ratio not in RATIOS or wrong:
        raise KSDiffError(
            f"{sizes}: a ratio of {to_pan.e:.4g} by {to_pan.a:.4g} ({pan.name}, {ms.name}); "
            "expected 2 or 4"
        )
    if drift > 0.5:
        raise KSDiffError(
            f"{sizes}: so near a ratio of {ratio} and yet the grids drift apart by {drift:.1f} PAN "
            f"pixels across {ms.name}; resample one of the two"
        )
    return (to_pan.f, to_pan.c), ratio


def _pixel(dataset: DatasetReader) -> str:
    return f"{dataset.res[1]:g} x {dataset.res[0]:g}"


@dataclass(frozen=True)
class _Axis:
    pan_start: int
    ms_start: int
    count: int  # MS pixels
    phase: float


def _align(
    name: str,
    offset: float,
    ratio: int,
    pan_size: int,
    ms_size: int,
    pan: DatasetReader,
    ms: DatasetReader,
) -> _Axis:
    """Assign a block of PAN pixels to each MS pixel, such that most MS pixels find theirs.

    A block holds the centre of its MS pixel, which leaves ``ratio`` choices. They differ where the
    grids are offset by a fraction of an MS pixel, as after Wald's protocol, whose MS samples lie
    beside the middle of their blocks.
    """
    centre = round(offset + ratio / 2 - 0.5, 4)
    best = None
    for step in range(ratio):
        origin = math.floor(centre + 0.5) - step
        first = max(0, math.ceil(-origin / ratio))
        stop = min(ms_size, (pan_size - origin) // ratio)
        phase = round(centre - origin, 4)
        rank = (stop - first, -abs(phase - (ratio - 1) / 2))
        if best is None or rank > best[0]:
            best = rank, _Axis(origin + first * ratio, first, stop - first, phase)
    axis = best[1]
    if axis.count <= 0:
        raise KSDiffError(
            f"pan {pan.name} and ms {ms.name} do not overlap ({name}): "
            f"bounds {_bounds(pan)} and {_bounds(ms)}"
        )
    return axis


def _bounds(dataset: DatasetReader) -> str:
    return "(" + ", ".join(f"{value:.10g}" for value in dataset.bounds) + ")"


def _moved(area: tuple[slice, slice], origin: tuple[int, int]) -> Window:
    rows, columns = (slice(s.start + at, s.stop + at) for s, at in zip(area, origin, strict=True))
    return Window.from_slices(rows, columns)


def _read(dataset: DatasetReader, window: Window) -> tuple[Tensor, Tensor]:
    try:
        raw = dataset.read(window=window)
        valid = np.isfinite(raw)
        for band, nodata in enumerate(dataset.nodatavals):
            if nodata is not None and not math.isnan(nodata):
                valid[band] &= raw[band] != nodata
        if _has_mask(dataset):
            valid &= dataset.read_masks(window=window) > 0
    except rasterio.errors.RasterioError as error:
        raise KSDiffError(f"{dataset.name}: cannot be read, it may be damaged: {error}") from None
    values = torch.from_numpy(raw.astype(np.float32))[None]
    return values, torch.from_numpy(valid)[None]


def _has_mask(dataset: DatasetReader) -> bool:
    """Whether a mask lies beside the bands."""
    return MaskFlags.per_dataset in dataset.mask_flag_enums[0] and not _has_alpha(dataset)


def _has_alpha(dataset: DatasetReader) -> bool:
    """Whether a band claims to be a mask. It is taken for a band like the others.

    Four 8-bit bands are marked as red, green, blue and alpha by many a writer that was given four
    colours.
    """
    return MaskFlags.alpha in dataset.mask_flag_enums[0]


def _can_lack_data(dataset: DatasetReader) -> bool:
    floating = np.issubdtype(dataset.dtypes[0], np.floating)
    return dataset.nodata is not None or floating or _has_mask(dataset)


def marker(dtype: str, wish: float | None) -> float:
    """A nodata value for a data type: NaN, what the other image has, or 0."""
    if np.issubdtype(dtype, np.floating):
        return math.nan
    return wish if wish is not None and _holds(dtype, wish) else 0


def _holds(dtype: str, value: float) -> bool:
    limits = np.iinfo(dtype)
    return float(value).is_integer() and limits.min <= value <= limits.max
