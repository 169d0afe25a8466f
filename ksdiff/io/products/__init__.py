"""Products as providers deliver them: which files are PAN and MS, and what is known of them."""

from __future__ import annotations

from pathlib import Path

from ksdiff.errors import KSDiffError
from ksdiff.io.products import stac
from ksdiff.io.products.dimap import Dimap
from ksdiff.io.products.files import Files, is_archive, without_ending
from ksdiff.io.products.landsat import Landsat
from ksdiff.io.products.maxar import Maxar
from ksdiff.io.products.product import Product, ProductImage, Reader

__all__ = ["Product", "ProductImage", "is_product", "name_of", "read_product"]

READERS: tuple[Reader, ...] = (Landsat(), Dimap(), Maxar())


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
            f"{path}: is no product that is known ({known}); for a pair of rasters give PAN, MS "
            "and OUT"
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


def name_of(path: Path) -> str:
    """Of the folder or archive, without what ends an archive's."""
    return without_ending(path.name) if path.is_file() else path.name


def _readers(place: Path) -> list[tuple[Reader, Files, list[str]]]:
    """Those that recognise a place, with the files they are to look at."""
    if place.is_dir() or is_archive(place):
        files = Files.of(place)
        found = [(reader, files, reader.metadata(files)) for reader in READERS]
    else:
        whole = place.resolve()
        # PAN and MS of one scene lie in folders beside each other.
        files = Files.of(whole.parent.parent, depth=2)
        named = files.only(whole.relative_to(whole.parent.parent).as_posix())
        found = [(reader, files, reader.metadata(named)) for reader in READERS]
    return [each for each in found if each[-1]]
