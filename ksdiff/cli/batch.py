"""Fuse many scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from ksdiff.cli.options import Overwrite, Progress, Quiet, Weights, takes
from ksdiff.errors import KSDiffError
from ksdiff.inference.options import SharpenOptions
from ksdiff.inference.progress import silent, tell_line, watched
from ksdiff.io.output_options import OutputOptions
from ksdiff.runtime import return_large_blocks


@takes(SharpenOptions, panel="Fusion options")
@takes(OutputOptions, into="output", panel="Output options")
def batch(
    source: Annotated[
        str,
        typer.Argument(
            help="Folder of products (folders or archives) or of NAME_pan.tif and NAME_ms.tif; a "
            ".csv file with columns pan and ms, or product, and, optionally, name and sensor; or a "
            "STAC collection, a .json file or its address."
        ),
    ],
    options: SharpenOptions,
    output: OutputOptions,
    out: Annotated[
        Path, typer.Option(help="Folder for the results, NAME.tif; created if missing.")
    ],
    suffix: Annotated[
        str, typer.Option(help="Ending of the results' names, which chooses the format.")
    ] = ".tif",
    weights: Weights = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes on this machine; each fuses one scene at a time.", min=1),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="Address of a dask scheduler (tcp://HOST:8786) whose workers fuse the scenes."
        ),
    ] = None,
    split: Annotated[
        float,
        typer.Option(
            help="Megapixels of PAN above which workers share a scene, row of windows by row.",
            min=0,
        ),
    ] = 64,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    progress: Progress = "bar",
) -> None:
    """Fuse many scenes. Existing results are skipped; failures are listed at the end."""
    from ksdiff.io.jobs import list_jobs

    if scheduler is not None and workers is not None:
        raise KSDiffError(
            "scheduler and workers: expected one of them, got both; a scheduler has "
            "workers of its own"
        )
    jobs = list_jobs(source)  # before PyTorch is loaded
    return_large_blocks()
    lines = progress == "json"
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bar(
        *columns, TimeRemainingColumn(), console=Console(stderr=True), disable=quiet or lines
    ) as bar:
        shown = _Shown(bar, len(jobs), lines and not quiet)
        from ksdiff.inference.batch import SharpenScene, sharpen_batch
        from ksdiff.inference.cluster import cluster, sharpen_on
        from ksdiff.inference.processes import Recipe

        sharpen = SharpenScene(Recipe.of(weights, options), output, overwrite)
        how: dict[str, Any] = {"suffix": suffix, "overwrite": overwrite, "end": shown.end}
        if scheduler is None and workers is None:
            result = sharpen_batch(jobs, out, sharpen, begin=shown.describe, **how)
        else:
            with cluster(scheduler, workers) as client:
                if scheduler is not None and not quiet:
                    bar.console.print(f"dashboard: {client.dashboard_link}")
                shown.describe("sharpening")
                result = sharpen_on(client, jobs, out, sharpen, split=split, told=shown.row, **how)
    if not quiet:
        print(
            f"{out}: {len(result.done)} scenes sharpened, {len(result.skipped)} existed already, "
            f"{len(result.failed)} failed"
        )
    if result.failed:
        reasons = "\n".join(f"  {name}: {reason}" for name, reason in result.failed.items())
        raise KSDiffError(f"{len(result.failed)} of {len(jobs)} scenes failed\n{reasons}")


class _Shown:
    """How far a batch is: a bar on the terminal, or lines for a program."""

    def __init__(self, bar: Bar, count: int, lines: bool) -> None:
        self._bar, self._task = bar, bar.add_task("starting", total=count)
        self._tell = (watched(tell_line) if lines else silent)("Sharpening", count)

    def describe(self, text: str) -> None:
        self._bar.update(self._task, description=escape(text))

    def row(self, name: str, done: int, count: int) -> None:
        self.describe(f"{name}: row {done} of {count}" if done < count else "sharpening")

    def end(self, name: str) -> None:
        self._bar.advance(self._task)
        self._tell()
