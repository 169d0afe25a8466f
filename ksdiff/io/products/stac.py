"""STAC items, in a file or on a server: assets named by their bands' common names; and where they
are listed."""

from __future__ import annotations

import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ksdiff.errors import KSDiffError
from ksdiff.io.products.product import Band, Product, ProductImage, bands_of, described
from ksdiff.sensors import SENSORS, Wavelengths

if TYPE_CHECKING:
    import pystac

KIND, PATTERN = "STAC item", "*.json, in a file or by its address"
_PATIENCE = 30  # seconds, for a server's answer
_PAN = ("pan", "panchromatic")
# Common names of reflective bands by rising wavelength, and what sensors here call them.
_REFLECTIVE = {
    "coastal": ("coastal", "deep blue"),
    "blue": ("blue",),
    "green": ("green",),
    "yellow": ("yellow",),
    "red": ("red",),
    "rededge": ("red edge", "red edge 1"),
    "rededge071": ("red edge", "red edge 1"),
    "rededge075": ("red edge 2",),
    "rededge078": ("red edge 3",),
    "nir": ("nir", "nir1"),
    "nir08": ("nir", "nir1", "nir narrow"),
    "nir09": ("nir2",),
    "swir16": ("swir1",),
    "swir22": ("swir2",),
}
_NO_DATA_ROLES = {"thumbnail", "overview", "visual", "metadata", "mask", "cloud", "saturation"}
_PLATFORMS = (
    (r"landsat0?([789])", r"landsat\1"),
    (r"(?:worldview|wv)0?([234])", r"wv\1"),
    (r"(?:geoeye|ge)0?1", "geoeye1"),
    (r"(?:quickbird|qb)0?2?", "qb"),
    (r"ikonos0?2?", "ikonos"),
    (r"(?:pleiadesneo|pneo).*", "pleiades-neo"),
    (r"(?:pleiades|phr).*", "pleiades"),
    (r"spot0?([67])", r"spot\1"),
    (r"(?:gaofen|gf)0?([126])[a-z]*", r"gf\1"),
)


@dataclass(frozen=True)
class _Asset:
    key: str
    href: str
    bands: tuple[Mapping[str, Any], ...]

    @property
    def commons(self) -> list[str]:
        return [_common(band, self.key) for band in self.bands]


def recognises(path: str | Path) -> bool:
    """Whether a name can be that of an item."""
    text = str(path)
    return _remote(text) or (text.lower().endswith(".json") and "_mtl." not in text.lower())


def read_item(address: str | Path) -> Product:
    """The scene of an item.

    Raises:
        KSDiffError: pystac is not installed; an address that answers nothing or with an error, no
            item, one without PAN or without multispectral bands.
    """
    where = str(address)
    item = _item(where)
    assets = [asset for asset in map(_asset, *_of(item)) if asset is not None]
    sensor = _sensor(item.properties)
    pans = [asset for asset in assets if len(asset.bands) == 1 and asset.commons[0] in _PAN]
    if len(pans) != 1:
        raise KSDiffError(
            f"{where}: expected one panchromatic asset, by the common name pan of its band or by "
            f"its key; {_found(pans, item)}; if there is one, give the files with --pan and --ms"
        )
    chosen = _multispectral(assets)
    if not chosen:
        raise KSDiffError(
            f"{where}: expected multispectral assets, by the common names of their bands or by "
            f"their keys (blue, green, red, nir, ...); {_found([], item)}; if there are some, give "
            "the files with --pan and --ms"
        )
    ms = ProductImage(
        tuple(asset.href for asset in chosen),
        _bands(chosen, sensor),
        _nodata(chosen[0], sensor),
        _acquisition(item),
        sensor,
    )
    pan = ProductImage((pans[0].href,), nodata=_nodata(pans[0], sensor))
    return described(KIND, item.id, pan, ms, (where,))


def list_items(address: str | Path) -> list[str]:
    """Where the items of a collection or catalog are, in the order of its links, of those below it,
    too. An item is a list of itself. No item is read.

    Raises:
        KSDiffError: pystac is not installed; an address that answers nothing or with an error, no
            collection, catalog or item.
    """
    where = str(address)
    _pystac(where)
    return list(dict.fromkeys(_items(where, set())))


def _items(where: str, seen: set[str]) -> Iterator[str]:
    from pystac.utils import make_absolute_href

    if where in seen:  # collections may lead back to each other
        return
    seen.add(where)
    found = _object(where, "collection")
    kind = found.get("type")
    if kind == "Feature":
        yield where
        return
    if kind not in ("Collection", "Catalog", "FeatureCollection"):
        raise KSDiffError(
            f"{where}: is not a STAC collection: expected an object of type Collection, Catalog, "
            f"FeatureCollection or Feature, got {'type ' + str(kind) if kind else 'something else'}"
        )
    whole = _whole(where)
    links = list(_links(found))
    for feature in found.get("features") or ():
        links += [("item", href) for rel, href in _links(feature) if rel == "self"]
    named = {rel for rel, _ in links}
    for rel, href in links:
        place = make_absolute_href(href, whole)
        if rel == "item":
            yield place
        elif rel in ("child", "next") or (rel == "items" and not named & {"item", "child"}):
            yield from _items(place, seen)


def _links(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Relation and address of each."""
    links = found.get("links") if isinstance(found, dict) else None
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("method", "GET") == "GET":
            yield str(link.get("rel")), str(link.get("href"))


def _whole(where: str) -> str:
    """The address that links are relative to."""
    return where if _remote(where) else str(Path(where).resolve())


def _pystac(where: str) -> ModuleType:
    try:
        import pystac
    except ImportError:
        raise KSDiffError(
            f"{where}: reading STAC items needs pystac: pip install 'ksdiff[stac]'"
        ) from None
    return pystac


def _object(where: str, kind: str) -> dict[str, Any]:
    try:
        found = json.loads(_text(where))
    except ValueError:
        raise KSDiffError(f"{where}: is not a STAC {kind}: its text is not JSON") from None
    return found if isinstance(found, dict) else {}


def _item(where: str) -> pystac.Item:
    pystac = _pystac(where)
    found = _object(where, "item")
    kind = found.get("type")
    if kind != "Feature" or "stac_version" not in found:
        raise KSDiffError(
            f"{where}: is not a STAC item: expected an object of type Feature with stac_version, "
            f"got {'type ' + str(kind) if kind else 'something else'}"
        )
    try:
        return pystac.Item.from_dict(found, href=_whole(where), migrate=True)
    except Exception as error:  # pystac lets what is missing or wrong through in many shapes
        raise KSDiffError(f"{where}: is not a valid STAC item: {error!r}") from None


def _text(where: str) -> str:
    if not _remote(where):
        try:
            return Path(where).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise KSDiffError(f"{where}: cannot be read: {error}") from None
    if not where.lower().startswith(("http://", "https://")):
        raise KSDiffError(f"{where}: expected an address with http:// or https://")
    try:
        with urllib.request.urlopen(where, timeout=_PATIENCE) as answer:
            text: bytes = answer.read()
            return text.decode()
    except urllib.error.HTTPError as error:
        raise KSDiffError(f"{where}: the server answers {error.code} {error.reason}") from None
    except http.client.IncompleteRead:
        raise KSDiffError(f"{where}: the answer stops in the middle; try again") from None
    except (OSError, http.client.HTTPException, UnicodeDecodeError) as error:
        reason = getattr(error, "reason", None) or error
        raise KSDiffError(f"{where}: cannot be fetched: {reason}") from None


def _remote(text: str) -> bool:
    return "://" in text


def _of(item: pystac.Item) -> tuple[list[str], list[pystac.Asset]]:
    return list(item.assets), list(item.assets.values())


def _asset(key: str, asset: pystac.Asset) -> _Asset | None:
    """An image with bands; None for others."""
    media = asset.media_type or ""
    image = media.startswith("image/") or re.search(r"\.(tiff?|jp2)(\?|$)", asset.href.lower())
    if not image or media.startswith(("image/png", "image/jpeg")):
        return None
    if _NO_DATA_ROLES & set(asset.roles or ()):
        return None
    fields = asset.extra_fields
    bands = fields.get("bands") or fields.get("eo:bands") or [{}]
    own = {name: value for name, value in fields.items() if name not in ("bands", "eo:bands")}
    href = asset.get_absolute_href() or asset.href
    return _Asset(key, href, tuple({**own, **band} for band in bands))


def _common(band: Mapping[str, Any], key: str) -> str:
    return str(band.get("eo:common_name") or band.get("common_name") or key).lower()


def _multispectral(assets: Sequence[_Asset]) -> list[_Asset]:
    """Assets of one band each, or the one that has all: whichever tells more bands."""
    spectral = [asset for asset in assets if all(name in _REFLECTIVE for name in asset.commons)]
    single = [asset for asset in spectral if len(asset.bands) == 1]
    single.sort(key=lambda asset: list(_REFLECTIVE).index(asset.commons[0]))
    whole = sorted(spectral, key=lambda asset: -len(asset.bands))[:1]
    if whole and len(whole[0].bands) >= max(2, len(single)):
        return whole
    return single if len(single) > 1 else []


def _bands(assets: Sequence[_Asset], sensor: str | None) -> tuple[Band, ...]:
    """By rising wavelength, by the sensor's names for them; wavelengths as told, else as its."""
    known = SENSORS[sensor].band_names if sensor else ()
    commons = [common for asset in assets for common in asset.commons]
    told = [_wavelengths(band) for asset in assets for band in asset.bands]
    named: list[str] = []
    for common in commons:
        better = [name for name in _REFLECTIVE[common] if name in known and name not in named]
        named.append(better[0] if better else common)
    bands = sorted(
        bands_of(sensor, named),
        key=lambda band: list(_REFLECTIVE).index(commons[band.number - 1]),
    )
    return tuple(
        replace(band, wavelengths=told[band.number - 1] or band.wavelengths) for band in bands
    )


def _wavelengths(band: Mapping[str, Any]) -> Wavelengths | None:
    """From micrometres."""
    centre, width = (
        band.get(f"eo:{name}", band.get(name))
        for name in ("center_wavelength", "full_width_half_max")
    )
    if not isinstance(centre, int | float) or not isinstance(width, int | float):
        return None
    return 1000 * (centre - width / 2), 1000 * (centre + width / 2)


def _nodata(asset: _Asset, sensor: str | None) -> float | None:
    band = asset.bands[0]
    value = band.get("nodata")
    for raster in band.get("raster:bands") or ():
        value = raster.get("nodata") if value is None else value
    if value is None and (sensor or "").startswith("landsat"):
        return 0.0  # its fill value, which items do not tell
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def _sensor(properties: Mapping[str, Any]) -> str | None:
    for name in ("platform", "constellation"):
        text = re.sub(r"[^a-z0-9]", "", str(properties.get(name) or "").lower())
        for pattern, sensor in _PLATFORMS:
            if match := re.fullmatch(pattern, text):
                return match.expand(sensor)
    return None


def _acquisition(item: pystac.Item) -> dict[str, str]:
    """By GDAL's names."""
    when = item.datetime
    tags = {
        "SATELLITEID": item.properties.get("platform"),
        "ACQUISITIONDATETIME": when and f"{when:%Y-%m-%d %H:%M:%S}",
        "CLOUDCOVER": item.properties.get("eo:cloud_cover"),
        "SUNAZIMUTH": item.properties.get("view:sun_azimuth"),
        "SUNELEVATION": item.properties.get("view:sun_elevation"),
    }
    return {key: str(value) for key, value in tags.items() if value is not None}


def _found(several: Sequence[_Asset], item: pystac.Item) -> str:
    if several:
        return "found " + ", ".join(asset.key for asset in several)
    return "found none among " + (", ".join(item.assets) or "no assets")
