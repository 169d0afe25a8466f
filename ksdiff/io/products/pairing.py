"""Deliveries that describe PAN and MS apart: which belong to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ksdiff.errors import KSDiffError
from ksdiff.io.products.product import Product, ProductImage, described

_WORDS = {"pan": "panchromatic", "ms": "multispectral"}


@dataclass(frozen=True)
class Scan:
    """An image of a delivery, PAN or MS, with the file that describes it."""

    role: Literal["pan", "ms"]
    image: ProductImage
    name: str  # of the scene
    key: tuple[str, ...]  # that both images of a scene have
    metadata: str


def paired(kind: str, scans: Sequence[Scan], wanted: Sequence[str]) -> list[Product]:
    """The scenes among images to which one of the ``wanted`` metadata files belongs.

    Raises:
        KSDiffError: an image without its partner, several of one scene and role.
    """
    alone = [[scan for scan in scans if scan.role == role] for role in ("pan", "ms")]
    groups = [list(scans)]
    if any(len(each) > 1 for each in alone):
        keys = sorted({_key(scan) for scan in scans})
        groups = [[scan for scan in scans if _key(scan) == key] for key in keys]
    products = []
    for group in groups:
        files = [scan.metadata for scan in group]
        if set(files) & set(wanted):
            pan, ms = (_one(group, role) for role in ("pan", "ms"))
            products.append(described(kind, ms.name, pan.image, ms.image, files))
    return products


def _key(scan: Scan) -> tuple[str, ...]:
    """Both images lie in folders of one folder."""
    return (*scan.key, *scan.metadata.rsplit("/", 2)[:-2])


def _one(group: Sequence[Scan], role: str) -> Scan:
    found = [scan for scan in group if scan.role == role]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(scan.metadata for scan in found)
        raise KSDiffError(
            f"{found[0].metadata}: there are {len(found)} {_WORDS[role]} images of this scene "
            f"({names}); give one PAN and one MS with --pan and --ms"
        )
    raise KSDiffError(
        f"{group[0].metadata}: its {_WORDS[role]} image is missing; give the folder that holds "
        "both PAN and MS, or both with --pan and --ms"
    )
