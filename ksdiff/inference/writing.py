"""Fused parts into a file: rounded, tagged, and written beside the computing."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ksdiff.inference.windows import Finished
from ksdiff.io.delivery import delivered
from ksdiff.io.description import Description
from ksdiff.io.formats import Format
from ksdiff.io.geotiff import quantise, with_alpha
from ksdiff.io.output_options import OutputOptions
from ksdiff.io.rasters import ScenePair, marker

_WAITING = 1  # parts that wait to be written: writing a part takes less than computing one


@dataclass(frozen=True)
class Target:
    """The raster to come. `Target.of` sees that it can be written."""

    path: Path
    pair: ScenePair
    form: Format
    exact: bool
    dtype: str
    nodata: float | None
    alpha: bool  # an alpha band instead
    bits: int | None
    about: Description

    @classmethod
    def of(
        cls, path: str | Path, pair: ScenePair, options: OutputOptions, tags: Mapping[str, str]
    ) -> Target:
        """The raster for a scene's fused image.

        Args:
            tags: how it was made.

        Raises:
            KSDiffError: the format cannot hold such an image, or an option is none of its own.
        """
        dtype = options.dtype or pair.dtype
        form = Format.of(path, options, dtype)
        alpha = pair.masked_by_alpha if options.mask == "auto" else options.mask == "alpha"
        about = pair.about.with_tags(tags)
        nodata = None if alpha else pair.nodata
        if nodata is not None and dtype != pair.dtype:
            nodata = marker(dtype, nodata)
        known = [bits for bits in (form.bits, pair.bits) if bits is not None]
        return cls(
            Path(path),
            pair,
            form,
            form.tried(path, pair.bands + alpha, dtype),
            dtype,
            nodata,
            alpha,
            min(known, default=None),
            about.with_alpha() if alpha else about,
        )

    @contextlib.contextmanager
    def opened(self) -> Iterator[Callable[[Finished], None]]:
        """What writes a part, each once; the file gets its name when the block ends."""
        pair = self.pair
        with delivered(
            self.path,
            self.form,
            pair.bands + self.alpha,
            *pair.shape,
            self.dtype,
            exact=self.exact,
            nodata=self.nodata,
            about=self.about,
            alpha=self.alpha,
            transform=pair.transform if pair.georeferenced else None,
            crs=pair.crs,
            gcps=pair.gcps,
            rpcs=pair.rpcs,
        ) as file:

            def write(part: Finished) -> None:
                values = quantise(
                    part.fused.numpy(), part.valid.numpy(), self.dtype, self.nodata, self.bits
                )
                if self.alpha:
                    values = with_alpha(values, part.valid.numpy())
                file.write(values, part.top, part.left)

            with _behind(write) as later:
                yield later


@contextlib.contextmanager
def _behind(work: Callable[[Finished], None]) -> Iterator[Callable[[Finished], None]]:
    """``work`` on a thread of its own, in order. What it raises comes with a later call, or at the
    end."""
    with ThreadPoolExecutor(1) as thread:
        waiting: deque[Future] = deque()

        def call(part: Finished) -> None:
            if len(waiting) > _WAITING:
                waiting.popleft().result()
            waiting.append(thread.submit(work, part))

        yield call
        while waiting:
            waiting.popleft().result()
