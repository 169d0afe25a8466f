"""Batches of scenes: failures are collected for the end, finished scenes are not repeated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ksdiff.errors import KSDiffError
from ksdiff.inference.processes import Recipe, sharpener_of
from ksdiff.io.jobs import Job
from ksdiff.io.output_options import OutputOptions


@dataclass
class BatchResult:
    """Names of scenes by outcome."""

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)  # their outputs were there
    failed: dict[str, str] = field(default_factory=dict)  # with the reason

    def add(self, name: str, failed: str | None) -> None:
        """A finished scene, and why it failed; None if it did not."""
        if failed is None:
            self.done.append(name)
        else:
            self.failed[name] = failed


@dataclass(frozen=True)
class SharpenScene:
    """Sharpens a job to a file; a process loads weights once, however many scenes it does."""

    recipe: Recipe
    output: OutputOptions
    overwrite: bool = False

    def __call__(self, job: Job, target: Path) -> None:
        sharpener_of(self.recipe).sharpen_files(
            *(*job.rasters, target),
            sensor=job.sensor,
            output=self.output,
            overwrite=self.overwrite,
        )


def outcome(sharpen: Callable[[Job, Path], object], job: Job, target: Path) -> str | None:
    """Why a scene failed; None if it did not."""
    try:
        sharpen(job, target)
    except Exception as error:  # one scene's defect must not end the others
        return reason(error)
    return None


def reason(error: BaseException) -> str:
    """Why a scene failed, for the user."""
    if isinstance(error, KSDiffError):
        return str(error)
    return f"unexpected {type(error).__name__}: {error}"


def planned(
    jobs: Sequence[Job], out: Path, suffix: str, overwrite: bool, result: BatchResult
) -> list[tuple[Job, Path]]:
    """The jobs to run, with their targets, both by absolute names; the others are skipped.

    Raises:
        KSDiffError: the folder cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KSDiffError(f"out {out}: cannot be created: {error.strerror}") from None
    todo = []
    for job in jobs:
        target = out.absolute() / f"{job.name}{suffix}"
        if target.exists() and not overwrite:
            result.skipped.append(job.name)
        else:
            todo.append((job.absolute(), target))
    return todo


def sharpen_batch(
    jobs: Sequence[Job],
    out: str | Path,
    sharpen: Callable[[Job, Path], object],
    *,
    suffix: str = ".tif",
    overwrite: bool = False,
    begin: Callable[[str], None] = lambda name: None,
    end: Callable[[str], None] = lambda name: None,
) -> BatchResult:
    """Sharpen one scene after the other into a folder, as NAME.tif.

    Args:
        out: folder; created if missing.
        sharpen: does one scene, given its output.
        suffix: of the outputs, by which their format is chosen.
        overwrite: replace existing results.
        begin, end: called with each scene's name before and after it.

    Raises:
        KSDiffError: the folder cannot be created. Failures of single scenes are in the result.
    """
    result = BatchResult()
    todo = planned(jobs, Path(out), suffix, overwrite, result)
    for name in result.skipped:
        end(name)
    for job, target in todo:
        begin(job.name)
        result.add(job.name, outcome(sharpen, job, target))
        end(job.name)
    return result
