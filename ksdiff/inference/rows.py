"""A large scene in rows of windows, each fused on its own by whichever process is free.

Finished rows lie in a hidden folder beside the output until all of them are there and one process
writes the image. Its name is made of all that decides on their values, so that a call that was
interrupted goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import re
import shutil
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import rasterio
import torch

from ksdiff.errors import KSDiffError
from ksdiff.inference.batch import SharpenScene
from ksdiff.inference.output_paths import OutputPaths
from ksdiff.inference.processes import FUSING, Prepared, fuser_of, sharpener_of
from ksdiff.inference.survey import SurveyPart, survey_spans, surveyed
from ksdiff.inference.windows import Beside, fused_row, stacked, window_grid
from ksdiff.inference.writing import Target
from ksdiff.io.image import gdal_options
from ksdiff.io.input_options import InputOptions
from ksdiff.io.jobs import Job
from ksdiff.io.rasters import ScenePair, names_of, open_pair

_ABANDONED = 24 * 3600  # seconds since a row was added to a folder that no call asks for


@dataclass(frozen=True)
class Rows:
    """A scene that is fused row by row. Made by `Rows.of`; its methods run in any process."""

    sharpen: SharpenScene
    job: Job
    target: Path
    folder: Path  # of finished rows
    surveys: int  # rows of windows that the survey reads
    count: int  # rows of windows

    @classmethod
    def of(cls, sharpen: SharpenScene, job: Job, target: Path, least: float) -> Rows | None:
        """A scene of more than ``least`` PAN pixels; None for a smaller one.

        Raises:
            KSDiffError: as `Sharpener.sharpen_files` would for these inputs and this target.
        """
        pan, ms = job.rasters
        with _opened(job) as pair:
            if pair.shape[0] * pair.shape[1] <= least:
                return None
            OutputPaths(target).check([*names_of(pan), *names_of(ms)], sharpen.overwrite)
            sharpener = sharpener_of(sharpen.recipe)
            sharpener.check(pair)
            tags = sharpener.provenance(pan, ms, pair, job.sensor)
            Target.of(target, pair, sharpen.output, tags)
            tile = sharpener.options.tile
            folder = _folder(target, tags, pair.files)
            folder.mkdir(exist_ok=True)
            count = len(window_grid(pair, tile)[0])
            surveys = len(survey_spans(pair.shape[0], tile, pair.ratio))
            return cls(sharpen, job, target, folder, surveys, count)

    @property
    def _tile(self) -> int:
        return self.sharpen.recipe.options.tile

    def missing(self) -> list[int]:
        """Rows that are still to be fused."""
        return [row for row in range(self.count) if not self._path(row).exists()]

    def survey(self, row: int) -> list[SurveyPart]:
        """One row of the windows that the survey reads."""
        with _held(self) as pair:
            rows, columns = (survey_spans(side, self._tile, pair.ratio) for side in pair.shape)
            top, bottom = rows[row]
            return [
                SurveyPart.of(pair, top, left, bottom - top, right - left)
                for left, right in columns
            ]

    def prepare(self, rows: list[list[SurveyPart]]) -> Prepared:
        """Combine the rows of the survey into what every window needs."""
        with _held(self) as pair:
            known = surveyed(pair.shape, pair.ratio, (part for row in rows for part in row))
            token = self.folder.name
            return Prepared.of(self.sharpen.recipe, pair, self.job.sensor, known, token)

    def fuse(self, row: int, prepared: Prepared) -> None:
        """Fuse a row of windows and keep it; in memory there is one window at a time."""
        if self._path(row).exists():  # by a process that was lost before it could say so
            return
        with _held(self) as pair, FUSING, torch.inference_mode(), _kept(self._path(row)) as file:
            fuse = fuser_of(self.sharpen.recipe, prepared)
            for window in fused_row(prepared.on(pair), fuse, self._tile, row):
                np.save(file, window.fused.numpy())
                whole = (slice(0, 1),) * 3 if window.valid.all() else ...
                np.save(file, window.valid[whole].numpy())

    def write(self) -> None:
        """Write the image, when all rows are there."""
        pan, ms = self.job.rasters
        with _held(self) as pair:
            tags = sharpener_of(self.sharpen.recipe).provenance(pan, ms, pair, self.job.sensor)
            with Target.of(self.target, pair, self.sharpen.output, tags).opened() as write:
                for part in stacked(pair, self._tile, map(self._row, range(self.count))):
                    write(part)

    def remove(self) -> None:
        """Remove the rows; the image is there."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, row: int) -> Path:
        return self.folder / f"{row}.npy"

    def _row(self, row: int) -> Iterator[Beside]:
        try:
            with self._path(row).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                while file.tell() < size:
                    fused, valid = (np.load(file, allow_pickle=False) for _ in range(2))
                    yield Beside(torch.from_numpy(fused), torch.from_numpy(valid))
        except (OSError, ValueError) as error:
            raise KSDiffError(
                f"{self._path(row)}: a finished row of {self.target.name} cannot be read "
                f"({error}); remove {self.folder} and run again"
            ) from None


@contextlib.contextmanager
def _opened(job: Job) -> Iterator[ScenePair]:
    with rasterio.Env(**gdal_options()), open_pair(*job.rasters, InputOptions()) as pair:
        yield pair


_HELD = threading.local()  # GDAL's open files cannot be shared by threads


@contextlib.contextmanager
def _held(rows: Rows) -> Iterator[ScenePair]:
    """The open scene. It stays open until this thread works on another one: opening can take as
    long as reading, where the images have collars."""
    with rasterio.Env(**gdal_options()):
        if getattr(_HELD, "folder", None) != rows.folder:
            if hasattr(_HELD, "pair"):
                _HELD.pair.close()
            _HELD.pair = open_pair(*rows.job.rasters, InputOptions())
            _HELD.folder = rows.folder
        yield _HELD.pair


@contextlib.contextmanager
def _kept(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name when it is complete. A process that was taken for lost may still
    write the same one."""
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    except OSError as error:
        raise KSDiffError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _folder(target: Path, tags: Mapping[str, str], files: Iterable[str]) -> Path:
    """The folder of the rows; its name depends on inputs, weights, options and versions."""
    stamps = [_stamp(name) for name in files]
    said = json.dumps([dict(tags), torch.__version__, stamps])
    key = hashlib.sha256(said.encode()).hexdigest()[:16]
    for other in target.parent.glob(f".{glob.escape(target.name)}.*.rows"):
        with contextlib.suppress(OSError):
            if time.time() - other.stat().st_mtime > _ABANDONED and f".{key}." not in other.name:
                shutil.rmtree(other, ignore_errors=True)
    return target.with_name(f".{target.name}.{key}.rows")


def _stamp(name: str) -> tuple[object, ...]:
    """A value that changes when the file does. For a file on another machine it is never the same
    twice, so its rows are not reused."""
    # /vsitar//folder/a.tar/b.tif lies in /folder/a.tar.
    path = Path(re.sub(r"^(/vsi\w+/)+", "", name))
    file = next((place for place in (path, *path.parents) if place.is_file()), None)
    if file is None:
        return name, uuid.uuid4().hex
    about = file.stat()
    return name, about.st_size, about.st_mtime_ns
