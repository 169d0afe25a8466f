"""Products as providers deliver them: which files are PAN and MS, and what is known of them."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ksdiff.errors import KSDiffError
from ksdiff.io.products import stac
from ksdiff.io.products.dimap import Dimap
from ksdiff.io.products.files import Files, is_archive, without_ending
from ksdiff.io.products.gaofen import GaoFen
from ksdiff.io.products.landsat import Landsat
from ksdiff.io.products.maxar import Maxar
from ksdiff.io.products.product import Product, ProductImage, Reader
from ksdiff.io.products.stac import list_items

__all__ = ["Product", "ProductImage", "is_product", "list_items", "name_of", "read_product"]

READERS: tuple[Reader, ...] = (Landsat(), Dimap(), Maxar(), GaoFen())


def read_product(path: str | Path) -> Product:
    """The scene of a product.

    Args:
        path: a folder, a .tar or .zip archive, or a metadata file; a STAC item's address, too.

    Raises:
        KSDiffError: no such file, no product that is known, or several, a file that is missing.
    """
    if "://" in str(path):
        return stac.read_item(path)
    place = Path(path)
    if place.is_file() and stac.recognises(place):
        return stac.read_item(place)
    if not place.exists():
        raise KSDiffError(f"{path}: there is no such file or folder")
    products = [
        product
        for reader, files, metadata in _readers(place)
        for product in reader.products(files, metadata)
    ]
    if not products:
        known = "; ".join(f"{reader.kind}: {reader.pattern}" for reader in READERS)
        known += f"; {stac.KIND}: {stac.PATTERN}"
        raise KSDiffError(
            f"{path}: is not a known product ({known}); for a pair of rasters give PAN, MS and OUT"
        )
    if len(products) > 1:
        names = ", ".join(each.metadata[0] for each in products)
        raise KSDiffError(f"{path}: holds {len(products)} products; name one of them: {names}")
    return products[0]


def is_product(path: str | Path) -> bool:
    """Whether names of files tell that a product is there; reads none of them."""
    place = Path(path)
    if not (place.is_dir() or (place.is_file() and is_archive(place))):
        return False
    try:
        files = Files.of(place)
    except KSDiffError:
        return False
    return any(reader.metadata(files) for reader in READERS)


def name_of(path: str | Path) -> str:
    """The scene's name: that of the folder, archive or metadata file, or the last part of an
    address, without the endings of file names."""
    if "://" in str(path):
        last = PurePosixPath(urllib.parse.urlsplit(str(path)).path).name
        return without_ending(last).removesuffix(".json")
    path = Path(path)
    if path.is_dir():
        return path.name
    return without_ending(path.name) if is_archive(path) else path.stem


def _readers(place: Path) -> Iterator[tuple[Reader, Files, list[str]]]:
    """The readers that recognise a place, each with the files and metadata files it looks at."""
    if place.is_dir() or is_archive(place):
        files = Files.of(place)
        for reader in READERS:
            if metadata := reader.metadata(files):
                yield reader, files, metadata
        return
    whole = place.resolve()
    named = Files.of(whole.parent, depth=0).only(whole.name)
    for reader in READERS:
        if reader.metadata(named):
            root = whole.parents[min(reader.above, len(whole.parents) - 1)]
            files = Files.of(root, depth=reader.above + 1)
            yield reader, files, [whole.relative_to(root).as_posix()]
