"""What a raster says of its bands and its making, beside values and place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader, DatasetWriter

# Tags of the source's own values, grid or file, which are not those of an image made from it.
_OWN = ("STATISTICS_", "OVR_", "AREA_OR_POINT", "TIFFTAG_SOFTWARE", "LAYER_TYPE", "RESAMPLING")
# Of a PAN file: the tag that tells how it was made, and its value for the DLPan-Toolbox's way.
PAN_PROTOCOL, BICUBIC = "KSDIFF_PAN_PROTOCOL", "bicubic"

_PLAIN = (ColorInterp.gray, ColorInterp.undefined)
_BY_NAME = {name: ColorInterp[name] for name in ("red", "green", "blue")}


@dataclass(frozen=True)
class Description:
    """Tags and the meaning of bands; empty where nothing is known."""

    names: tuple[str | None, ...] = ()
    colours: tuple[ColorInterp, ...] = ()
    scales: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()
    units: tuple[str | None, ...] = ()
    tags: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # by domain
    band_tags: tuple[Mapping[str, str], ...] = ()

    @classmethod
    def of(
        cls,
        source: DatasetReader,
        bands: Sequence[int],
        names: Sequence[str | None] | None = None,
    ) -> Description:
        """The description of an image made from these bands (counted from 1) of an open raster.

        Args:
            names: of these bands, where others are known than the raster's.
        """
        if names is None:
            names = [source.descriptions[band - 1] for band in bands]
        colours = tuple(source.colorinterp[band - 1] for band in bands)
        if all(colour in _PLAIN for colour in colours):
            # Viewers show true colours where the names say which they are.
            colours = tuple(_BY_NAME.get((name or "").lower(), colours[0]) for name in names)
        return cls(
            tuple(names),
            colours,
            tuple(source.scales[band - 1] for band in bands),
            tuple(source.offsets[band - 1] for band in bands),
            tuple(source.units[band - 1] for band in bands),
            {
                # Acquisition as GDAL's readers find it; its COG driver would drop the domain.
                "": _kept(source.tags(ns="IMAGERY")) | _kept(source.tags()),
                "IMD": _kept(source.tags(ns="IMD")),
            },
            tuple(_kept(source.tags(band)) for band in bands),
        )

    def with_tags(self, tags: Mapping[str, str]) -> Description:
        """A copy with further tags in the default domain."""
        return replace(self, tags={**self.tags, "": {**self.tags.get("", {}), **tags}})

    def with_wavelengths(self, limits: Sequence[tuple[float, float] | None]) -> Description:
        """A copy with GDAL's tags for wavelengths, given in nm where they are known."""
        tags = [{} if each is None else _wavelength(*each) for each in limits]
        return replace(
            self,
            band_tags=tuple({**new, **old} for new, old in zip(tags, self.band_tags, strict=True)),
        )

    def with_alpha(self) -> Description:
        """A copy for the same bands followed by an alpha band."""
        count = len(self.colours)
        return replace(
            self,
            names=(*self.names, *(None,) * (count - len(self.names)), "alpha"),
            colours=(*self.colours, ColorInterp.alpha),
            scales=(*self.scales, 1.0),
            offsets=(*self.offsets, 0.0),
            units=(*self.units, None),
            band_tags=(*self.band_tags, {}),
        )

    def apply(self, target: DatasetWriter) -> None:
        """Write it into an open raster with the same number of bands."""
        for band, name in enumerate(self.names, start=1):
            if name:
                target.set_band_description(band, name)
        for band, unit in enumerate(self.units, start=1):
            if unit:
                target.set_band_unit(band, unit)
        if any(colour not in _PLAIN for colour in self.colours):
            target.colorinterp = self.colours
        if any(scale != 1 for scale in self.scales) or any(self.offsets):
            target.scales, target.offsets = self.scales, self.offsets
        for domain, tags in self.tags.items():
            if tags:
                target.update_tags(ns=domain or None, **tags)
        for band, tags in enumerate(self.band_tags, start=1):
            if tags:
                target.update_tags(band, **tags)


def _wavelength(least: float, most: float) -> dict[str, str]:
    return {
        "CENTRAL_WAVELENGTH_UM": f"{(least + most) / 2000:.6g}",
        "FWHM_UM": f"{(most - least) / 1000:.6g}",
    }


def _kept(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if not key.startswith(_OWN)}
