"""Pairs of PAN and MS rasters: checks, common grid, windows, validity masks."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rasterio.crs import CRS
from rasterio.rpc import RPC
from rasterio.transform import Affine
from rasterio.windows import Window
from torch import Tensor

from ksdiff.errors import KSDiffError
from ksdiff.images.pair import Patch, check_side, window_slices
from ksdiff.io.align import aligned, gdalwarp
from ksdiff.io.collar import mask_collars
from ksdiff.io.description import BICUBIC, PAN_PROTOCOL, Description
from ksdiff.io.grids import GridMismatch, overlap, relate
from ksdiff.io.image import Image, open_dataset
from ksdiff.io.input_options import InputOptions
from ksdiff.io.mosaic import open_parts
from ksdiff.io.products import ProductImage
from ksdiff.sensors import Wavelengths

Name = str | Path  # of a raster: whatever GDAL opens
Raster = Name | Sequence[Name] | ProductImage


class ScenePair:
    """Two open rasters and the extent they share; a context manager. Made by `open_pair`."""

    def __init__(self, pan: Image, ms: Image, reading: InputOptions):
        self._pan, self._ms = pan, ms
        _check_bands(pan, ms)
        offset, self.ratio = relate(pan, ms)
        whole = reading.extent == "union"
        rows, columns = (
            overlap(name, offset[axis], self.ratio, pan.shape[axis], ms.shape[axis], pan, ms, whole)
            for axis, name in enumerate(("rows", "columns"))
        )
        self.bands = ms.count
        self.shape = (rows.count * self.ratio, columns.count * self.ratio)
        self.phase = (rows.phase, columns.phase)
        self._pan_origin = (rows.pan_start, columns.pan_start)
        self._ms_origin = (rows.ms_start, columns.ms_start)
        self._reaches_out = whole
        check_side(self.shape, f"the extent shared by {pan.name} and {ms.name}")
        self.notes = [*pan.notes, *ms.notes]
        if reading.nodata == "auto":
            self.notes += mask_collars(pan, ms)

    def __enter__(self) -> ScenePair:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._pan.close()
        self._ms.close()

    @property
    def name(self) -> str:
        return f"{self._pan.name} and {self._ms.name}"

    @property
    def files(self) -> list[str]:
        """All files that the two rasters consist of, by GDAL's names."""
        return [
            name
            for image in (self._pan, self._ms.source or self._ms)
            for name in image.dataset.files
        ]

    @property
    def crs(self) -> CRS | None:
        return self._pan.dataset.crs

    @property
    def georeferenced(self) -> bool:
        return self._pan.georeferenced

    @property
    def transform(self) -> Affine:
        """Affine transform of the PAN grid, cropped to the shared extent."""
        return _cropped(self._pan, self._pan_origin)

    @property
    def gcps(self) -> tuple | None:
        """PAN's ground control points and their CRS, where they are its georeference."""
        points, crs = self._pan.dataset.gcps
        return (points, crs) if points and not self.georeferenced else None

    @property
    def rpcs(self) -> RPC | None:
        """PAN's rational polynomials, or else those of the MS image, for the output's pixels."""
        rpcs = self._pan.dataset.rpcs
        if rpcs is not None:
            rpcs.line_off -= self._pan_origin[0]
            rpcs.samp_off -= self._pan_origin[1]
            return rpcs
        rpcs = None if self._ms.source else self._ms.dataset.rpcs
        if rpcs is not None:
            (top, left), (y, x) = self._ms_origin, self.phase
            rpcs.line_off = (rpcs.line_off - top) * self.ratio + y
            rpcs.samp_off = (rpcs.samp_off - left) * self.ratio + x
            rpcs.line_scale *= self.ratio
            rpcs.samp_scale *= self.ratio
        return rpcs

    @property
    def ms_transform(self) -> Affine:
        """Affine transform of the MS grid, cropped to the shared extent."""
        return _cropped(self._ms, self._ms_origin)

    @property
    def dtype(self) -> str:
        """The data type of the MS bands, which the fused image keeps."""
        return self._ms.dtype

    @property
    def pan_dtype(self) -> str:
        return self._pan.dtype

    @property
    def descriptions(self) -> tuple[str | None, ...]:
        return self._ms.descriptions

    @property
    def sensor(self) -> str | None:
        """By its name in `ksdiff.sensors`, where a product tells it."""
        return self._ms.known.sensor

    @property
    def pan_decimated(self) -> bool:
        """Whether the PAN file says that the toolbox's protocol made it; see `PAN_PROTOCOL`."""
        return self._pan.dataset.tags().get(PAN_PROTOCOL) == BICUBIC

    @property
    def wavelengths(self) -> tuple[Wavelengths | None, ...]:
        """Limits of the MS bands in nm, where a product tells them."""
        return self._ms.wavelengths

    @property
    def about(self) -> Description:
        """What the MS file and its product say of its bands and its making."""
        ms = self._ms
        about = Description.of((ms.source or ms).dataset, ms.indexes, ms.descriptions)
        return about.with_tags(ms.known.tags).with_wavelengths(ms.wavelengths)

    @property
    def bits(self) -> int | None:
        """Bits of the MS values, where the file says that they are fewer than its data type's."""
        bits = self._ms.dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS")
        return None if bits is None else int(bits)

    @property
    def nodata(self) -> float | None:
        """The value that marks pixels without data in the fused image.

        The MS file's own; where it declares none and yet pixels can lack data, NaN for floating
        point, else the collar's or PAN's value if the data type holds it, else 0.
        """
        return _marker_of(self._ms, self._pan, self._reaches_out)

    @property
    def pan_nodata(self) -> float | None:
        """The same for an image of PAN's kind."""
        return _marker_of(self._pan, lacking=self._reaches_out)

    @property
    def masked_by_alpha(self) -> bool:
        """Whether the MS image marks its pixels without data by an alpha band."""
        return (self._ms.source or self._ms).alpha is not None

    def read(
        self, top: int = 0, left: int = 0, height: int | None = None, width: int | None = None
    ) -> Patch:
        """See `Pair.read`. A file that cannot be decoded raises KSDiffError."""
        pan, ms = window_slices(self.shape, self.ratio, top, left, height, width)
        return Patch.of(
            self._pan.read(_moved(pan, self._pan_origin)),
            self._ms.read(_moved(ms, self._ms_origin)),
        )

    def read_truth(self, path: Name) -> Tensor:
        """Ground truth [1, C, H, W] on the PAN grid of the shared extent, DN.

        Raises:
            KSDiffError: other bands than the MS, or a grid that is not PAN's.
        """
        with open_dataset(path, "gt") as truth:
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
                    f"PAN's {tuple(self._pan.dataset.transform)[:6]}"
                )
            image = Image(truth, "gt", str(path), bands=truth.indexes)
            values, valid = image.read(Window(corner[1], corner[0], *self.shape[::-1]))
        if not valid.all():
            raise KSDiffError(f"{path}: ground truth has pixels without data; crop them away")
        return values


def open_pair(pan: Raster, ms: Raster, reading: InputOptions | None = None) -> ScenePair:
    """Open a PAN and an MS raster as one scene.

    The shared extent is cut to whole MS pixels, each of which stands for ``ratio x ratio`` PAN
    pixels. Where the two grids do not line up, `ScenePair.phase` says by how much: it is the PAN
    coordinate of the centre of MS pixel (0, 0), ``(ratio - 1) / 2`` for grids whose corners
    coincide, and it may be fractional. Files without georeference are taken to cover the same
    ground.

    Args:
        pan, ms: whatever GDAL opens by that name; several are stacked or mosaicked, see
            `ksdiff.io.mosaic.open_parts`. Or the parts of a product, see `ksdiff.io.products`.
        reading: how; see there. By default nothing is resampled.

    Raises:
        KSDiffError: a file that is missing or is no raster, other than one PAN band, fewer than two
            MS bands, complex values, exchanged roles, different CRS, grids rotated against each
            other, a ratio that is not a whole number from 2 to 8, no or too little overlap.
    """
    reading = reading or InputOptions(align="off")
    with contextlib.ExitStack() as undo:
        pan_image = _open("pan", pan, reading)
        undo.callback(pan_image.close)
        ms_image = _open("ms", ms, reading)
        undo.callback(ms_image.close)
        ms_image = _fitting(pan_image, ms_image, reading)
        undo.callback(ms_image.close)
        opened = ScenePair(pan_image, ms_image, reading)
        undo.pop_all()
    return opened


def _fitting(pan: Image, ms: Image, reading: InputOptions) -> Image:
    """The MS raster, resampled where its grid does not fit PAN's and that is wanted."""
    try:
        _check_bands(pan, ms)
        relate(pan, ms)
        return ms
    except GridMismatch as mismatch:
        if reading.align == "auto":
            return aligned(pan, ms, mismatch)
        try:
            command = gdalwarp(pan, ms, mismatch)
        except KSDiffError:  # nothing to resample
            raise mismatch from None
        raise GridMismatch(f"{mismatch}; or {command}") from None


def names_of(given: Raster) -> list[str]:
    """One name or several, as given."""
    if isinstance(given, ProductImage):
        return list(given.names)
    return [str(name) for name in ([given] if isinstance(given, str | Path) else given)]


def _open(role: str, given: Raster, reading: InputOptions) -> Image:
    names = names_of(given)
    known = given if isinstance(given, ProductImage) else ProductImage(tuple(names))
    dataset = open_parts(names, role)
    bands = [band.number for band in known.bands] or list(dataset.indexes)
    chosen = reading.band_numbers if role == "ms" else ()
    if max((*chosen, 0)) > len(bands) or max(bands) > dataset.count:
        count = dataset.count
        dataset.close()
        raise KSDiffError(
            f"bands: {', '.join(names)} has {min(count, len(bands))} bands, there is no band "
            f"{max(*chosen, *bands)}"
        )
    nodata = reading.nodata_of(dataset.dtypes[0])
    if nodata is None and dataset.nodatavals[0] is None:
        nodata = known.nodata
    if chosen:
        chosen = tuple(bands[number - 1] for number in chosen)
    elif known.bands:
        chosen = tuple(bands)
    return Image(dataset, role, ", ".join(names), nodata=nodata, bands=chosen, known=known)


def _check_bands(pan: Image, ms: Image) -> None:
    if pan.count > 1 and ms.count == 1:
        raise KSDiffError(
            f"pan and ms look exchanged: {pan.name} has {pan.count} bands, {ms.name} one"
        )
    if pan.count != 1:
        raise KSDiffError(f"pan {pan.name}: expected one band, got {pan.count}")


def _moved(area: tuple[slice, slice], origin: tuple[int, int]) -> Window:
    rows, columns = (slice(s.start + at, s.stop + at) for s, at in zip(area, origin, strict=True))
    # Of a union, it can begin before the raster does.
    return Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)


def _cropped(image: Image, origin: tuple[int, int]) -> Affine:
    return image.dataset.transform @ Affine.translation(*origin[::-1])


def _marker_of(image: Image, partner: Image | None = None, lacking: bool = False) -> float | None:
    """What marks pixels without data in an image of this kind, where there can be any."""
    if image.nodata is not None:
        return image.nodata
    images = [one for one in (image, partner) if one is not None]
    if not (lacking or any(one.can_lack_data for one in images)):
        return None
    if image.collar is not None:
        return marker(image.dtype, image.collar.value)
    return marker(image.dtype, None if partner is None else partner.nodata)


def marker(dtype: str, wish: float | None) -> float:
    """A nodata value for a data type: NaN, what the other image has, or 0."""
    if np.issubdtype(dtype, np.floating):
        return math.nan
    return wish if wish is not None and _holds(dtype, wish) else 0


def _holds(dtype: str, value: float) -> bool:
    limits = np.iinfo(dtype)
    return float(value).is_integer() and limits.min <= value <= limits.max
