"""Lists of scenes to sharpen: folders, CSV files and STAC collections."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ksdiff.errors import KSDiffError
from ksdiff.io.products import ProductImage, is_product, list_items, name_of, read_product
from ksdiff.io.scenes import list_scenes

_NEEDED = ("pan", "ms")
_PAIR = re.compile(r".+_pan\.tiff?", re.IGNORECASE)
_TAKEN = (*_NEEDED, "product", "name", "sensor")


@dataclass(frozen=True)
class Job:
    """One scene, and the name of its result: a pair of rasters, or a product."""

    name: str
    pan: str = ""
    ms: str | list[str] = ""
    sensor: str | None = None
    product: str | None = None  # read when its turn comes, so that a broken one stops no other

    @property
    def rasters(self) -> tuple[str | ProductImage, str | list[str] | ProductImage]:
        """PAN and MS.

        Raises:
            KSDiffError: no product that is known, a file of it that is missing.
        """
        if self.product is None:
            return self.pan, self.ms
        product = read_product(self.product)
        return product.pan, product.ms

    def absolute(self) -> Job:
        """With paths that do not depend on where a process was started; other names stay."""

        def found(name: str) -> str:
            return str(Path(name).absolute()) if name and Path(name).exists() else name

        ms = found(self.ms) if isinstance(self.ms, str) else [found(name) for name in self.ms]
        product = self.product and found(self.product)
        return replace(self, pan=found(self.pan), ms=ms, product=product)


def list_jobs(source: str | Path) -> list[Job]:
    """The scenes of a folder, of a CSV file, or of a STAC collection.

    In a folder these are the products in it (folders and archives, see `ksdiff.io.products`), by
    their own names, and the pairs of files that `list_scenes` finds.

    The file's first line names its columns: ``pan`` and ``ms``, or ``product``, or all three, of
    which a line fills the one or the other; and optionally ``name`` and ``sensor``. Several MS
    files are separated by ``;``. Paths are relative to the file; whatever GDAL opens by name is
    taken, too. A scene without a name takes that of its PAN file or its product.

    A STAC collection or catalog, a .json file or its address, is the items that it links to, and
    those below it. Where their files have one name, as item.json, they take their folders'.

    Raises:
        KSDiffError: no such folder or file, no scene in it, an unknown or missing column, a line
            without one of its files, two scenes of one name.
    """
    path = Path(source)
    if "://" in str(source) or path.suffix.lower() == ".json":
        jobs = _items(str(source))
    elif path.is_dir():
        jobs = list(_products(path))
        if not jobs or any(_PAIR.fullmatch(each.name) for each in path.iterdir()):
            jobs += [Job(s.name, str(s.pan), str(s.ms), s.sensor) for s in list_scenes(path)]
    elif path.suffix.lower() == ".csv":
        jobs = list(_rows(path))
    else:
        raise KSDiffError(f"{source}: expected a folder, a .csv file or a STAC collection")
    if not jobs:
        raise KSDiffError(f"{source}: expected one scene or more, found none")
    names: set[str] = set()
    for job in jobs:
        if job.name.lower() in names:
            raise KSDiffError(
                f"{source}: two scenes are called {job.name}; give them names in a CSV file"
            )
        if Path(job.name).name != job.name:
            raise KSDiffError(f"{source}: {job.name!r} cannot be the name of a file")
        names.add(job.name.lower())
    return jobs


def _products(folder: Path) -> Iterator[Job]:
    for path in sorted(folder.iterdir()):
        if is_product(path):
            yield Job(name_of(path), product=str(path))


def _items(source: str) -> list[Job]:
    places = list_items(source)
    names = [name_of(place) for place in places]
    if len({name.lower() for name in names}) < len(names):
        names = [name_of(place.rpartition("/")[0]) for place in places]
    return [Job(name, product=place) for name, place in zip(names, places, strict=True)]


def _rows(path: Path) -> Iterator[Job]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, skipinitialspace=True)
            columns = [name.strip().lower() for name in rows.fieldnames or ()]
            rows.fieldnames = columns
            if "product" not in columns and not set(_NEEDED) <= set(columns):
                raise KSDiffError(
                    f"{path}: expected columns pan and ms, or product, in the first line, "
                    f"got {', '.join(columns) or 'none'}"
                )
            for name in columns:
                if name not in _TAKEN:
                    raise KSDiffError(
                        f"{path}: unknown column {name!r}; expected {', '.join(_TAKEN)}"
                    )
            for row in rows:
                yield _job(path, rows.line_num, row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise KSDiffError(f"{path}: cannot be read: {error}") from None


def _job(path: Path, line: int, row: dict) -> Job:
    values = {key: (value or "").strip() for key, value in row.items() if key is not None}
    if None in row:
        raise KSDiffError(f"{path}, line {line}: more values than columns")
    sensor = values.get("sensor") or None
    pair = [wanted for wanted in _NEEDED if values.get(wanted)]
    if values.get("product"):
        if pair or sensor:
            raise KSDiffError(
                f"{path}, line {line}: a product tells {pair[0] if pair else 'the sensor'} itself; "
                "give one or the other"
            )
        product = _place(path, values["product"])
        return Job(values.get("name") or name_of(product), product=product)
    for wanted in _NEEDED:
        if wanted not in pair:
            raise KSDiffError(f"{path}, line {line}: {wanted} is missing")
    pan = _place(path, values["pan"])
    ms = [_place(path, part.strip()) for part in values["ms"].split(";") if part.strip()]
    name = values.get("name") or Path(pan).stem
    return Job(name, pan, ms[0] if len(ms) == 1 else ms, sensor)


def _place(path: Path, name: str) -> str:
    """A file beside the list, or a name that only GDAL knows: /vsizip/ and the like, or a URL."""
    if "://" in name or name.startswith("/"):
        return name
    return str(path.parent / name)
