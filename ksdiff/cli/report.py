"""The command that writes a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ksdiff.cli.options import Overwrite, Progress, Quiet, shown, takes
from ksdiff.errors import KSDiffError
from ksdiff.inference.options import SharpenOptions
from ksdiff.inference.progress import progress_bars
from ksdiff.io.input_options import InputOptions
from ksdiff.io.outputs import check_output
from ksdiff.io.products import ProductImage, read_product


@takes(SharpenOptions, "sensor", "device")
@takes(InputOptions, into="reading")
def report(
    options: SharpenOptions,
    reading: InputOptions,
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="PRODUCT FUSED | PAN MS FUSED",
            help="A product, or a PAN and an MS raster, as for sharpen, and the raster fused from "
            "them.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="HTML page to write, complete in one file.")],
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    progress: Progress = "bar",
) -> None:
    """Compare a fused scene with its inputs: pictures, spectra, indexes, decisions."""
    pan, ms, fused = _named(files)
    check_output(out, overwrite)  # before PyTorch is loaded
    with progress_bars(shown(progress, quiet)) as stage:
        started = stage("Starting", 1)
        from ksdiff.inference.reporting import report_files

        started()
        seen = report_files(
            *(pan, ms, fused, out),
            reading=reading,
            options=options,
            overwrite=overwrite,
            progress=stage,
        )
    if not seen:
        Console(stderr=True).print(f"{out}: the images have no pixels with data to show")
    if not quiet:
        print(f"{out}: report, {out.stat().st_size / 1e6:.1f} MB")


def _named(files: list[str]) -> tuple[str | ProductImage, str | ProductImage, str]:
    if len(files) == 3:
        return files[0], files[1], files[2]
    if len(files) == 2:
        product = read_product(files[0])
        return product.pan, product.ms, files[1]
    raise KSDiffError(f"expected PRODUCT FUSED or PAN MS FUSED, got {' '.join(files)}")
