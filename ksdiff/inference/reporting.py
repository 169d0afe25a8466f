"""Reports on rasters that were fused before."""

from __future__ import annotations

from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path

import rasterio

from ksdiff.errors import KSDiffError
from ksdiff.inference.options import SharpenOptions
from ksdiff.inference.progress import Stage, progress_bars
from ksdiff.inference.report import check_report, write_report
from ksdiff.inference.sharpen import Sharpener
from ksdiff.inference.survey import NothingInCommon
from ksdiff.io.image import gdal_options, open_dataset
from ksdiff.io.input_options import InputOptions
from ksdiff.io.outputs import check_output
from ksdiff.io.provenance import said_of
from ksdiff.io.rasters import Raster, names_of, open_pair

_UNKNOWN = "this image"


def report_files(
    pan: Raster,
    ms: Raster,
    fused: str | Path,
    out: str | Path,
    *,
    reading: InputOptions | None = None,
    options: SharpenOptions | None = None,
    overwrite: bool = False,
    progress: bool | Stage = False,
) -> bool:
    """Write a report on a raster that `Sharpener.sharpen_files`, or any other means, has made.

    The scene is measured anew. Options that the raster records take precedence over ``options``,
    except for sensor and device where given.

    Args:
        pan, ms, reading: as for `Sharpener.sharpen_files` when it was made.
        fused: raster on the grid of PAN, cut to the extent that both share.
        out: HTML page to write, see `ksdiff.inference.report.write_report`.
        overwrite, progress: as for `Sharpener.sharpen_files`.

    Returns:
        Whether there was anything to show: a pair without data in common, and a fused image
        without any, give a page that says so.

    Raises:
        KSDiffError: bad input, ``fused`` is not of this pair, a path that cannot be written.
    """
    check_report(out)
    check_output(out, overwrite)
    sources = {Path(name).resolve() for name in (*names_of(pan), *names_of(ms), str(fused))}
    if Path(out).resolve() in sources:
        raise KSDiffError(f"out {out}: is one of the other files of this call")
    with rasterio.Env(**gdal_options()), open_pair(pan, ms, reading or InputOptions()) as pair:
        made, method = _as_made(fused, options or SharpenOptions())
        with progress_bars(progress) as stage:
            try:
                # No weights are needed for measuring.
                scene = Sharpener(options=replace(made, method="exp")).prepare(pair, stage=stage)
            except NothingInCommon:
                scene = None
            return write_report(out, pair, scene, fused, made, method, stage)


def _as_made(fused: str | Path, options: SharpenOptions) -> tuple[SharpenOptions, str]:
    """Options, and the name of the weights or the method."""
    with closing(open_dataset(fused, "fused")) as dataset:
        said = said_of(dataset.tags()) or {}
    told = said.get("options")
    if not isinstance(told, dict):
        return options, _UNKNOWN
    names = {each.name for each in fields(SharpenOptions)} - {"device"}
    changes = {name: value for name, value in told.items() if name in names}
    if options.sensor is not None:
        changes["sensor"] = options.sensor
    made = replace(options, **changes)
    weights = said.get("weights")
    named = weights.get("name") if isinstance(weights, dict) else None
    return made, str(named or made.method)
