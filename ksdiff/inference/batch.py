"""Many scenes with one start: what fails is kept for the end, what is done is not done again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ksdiff.errors import KSDiffError
from ksdiff.io.jobs import Job


@dataclass
class BatchResult:
    """Names of scenes by how they ended."""

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)  # their outputs were there
    failed: dict[str, str] = field(default_factory=dict)  # with the reason


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
        out: folder; made if it is not there.
        sharpen: does one scene, given its output.
        suffix: of the outputs, by which their format is chosen.
        overwrite: do again what is there.
        begin, end: called with each scene's name before and after it.

    Raises:
        KSDiffError: the folder cannot be made. What goes wrong with a scene is in the result.
    """
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KSDiffError(f"out {out}: cannot be a folder: {error.strerror}") from None
    result = BatchResult()
    for job in jobs:
        begin(job.name)
        target = out / f"{job.name}{suffix}"
        if target.exists() and not overwrite:
            result.skipped.append(job.name)
        else:
            _try(job, target, sharpen, result)
        end(job.name)
    return result


def _try(
    job: Job, target: Path, sharpen: Callable[[Job, Path], object], result: BatchResult
) -> None:
    try:
        sharpen(job, target)
    except KSDiffError as error:
        result.failed[job.name] = str(error)
    except Exception as error:  # one scene's defect must not end the others
        result.failed[job.name] = f"unexpected {type(error).__name__}: {error}"
    else:
        result.done.append(job.name)
