"""Scenes of a batch on a dask cluster: one scene a task, wherever a worker is free."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import ksdiff
from ksdiff.errors import KSDiffError
from ksdiff.inference.batch import BatchResult, SharpenScene, outcome, planned
from ksdiff.io.jobs import Job

if TYPE_CHECKING:
    from distributed import Client

_WAIT = 15  # seconds for a scheduler to answer
_RETRIES = 2  # of a scene whose worker failed otherwise than by a KSDiffError


@contextmanager
def cluster(scheduler: str | None, workers: int | None) -> Iterator[Client]:
    """A client of a running scheduler, or of so many processes on this machine.

    Raises:
        KSDiffError: no scheduler answers, workers with another version of KSDiff or of dask, dask
            is not installed.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise KSDiffError(
            "scheduler and workers: need dask; install it with pip install 'ksdiff[dask]'"
        ) from None
    if scheduler is None:
        share = max((os.cpu_count() or 1) // (workers or 1), 1)
        local = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            memory_limit=0,  # a scene's memory is bounded by its tiles; dask would end workers
            dashboard_address=None,
            env={"OMP_NUM_THREADS": str(share), "OMP_WAIT_POLICY": "PASSIVE"},
        )
        with local, Client(local) as client:
            yield client
        return
    try:
        client = Client(scheduler, timeout=_WAIT)
    except (OSError, ValueError) as error:
        raise KSDiffError(
            f"scheduler {scheduler}: no answer ({error or type(error).__name__}); start one with "
            "dask scheduler, and workers with dask worker ADDRESS --nthreads 1"
        ) from None
    with client:
        _check_versions(client, scheduler)
        yield client


def _check_versions(client: Client, scheduler: str) -> None:
    """A worker of another version would give other pixels, or none."""
    try:
        client.get_versions(check=True)
    except ValueError as error:
        raise KSDiffError(f"scheduler {scheduler}: packages differ: {error}") from None
    found = client.run(_version)
    if not found:
        raise KSDiffError(
            f"scheduler {scheduler}: it has no workers; start some with "
            f"dask worker {scheduler} --nthreads 1"
        )
    for worker, version in found.items():
        if version != ksdiff.__version__:
            raise KSDiffError(
                f"scheduler {scheduler}: worker {worker} has KSDiff {version or 'not installed'}, "
                f"this is {ksdiff.__version__}; install the same everywhere"
            )


def _version() -> str | None:
    try:
        import ksdiff
    except ImportError:
        return None
    return ksdiff.__version__


def _absolute(job: Job) -> Job:
    """With paths that do not depend on where a worker was started; other names stay."""

    def absolute(name: str) -> str:
        return str(Path(name).absolute()) if name and Path(name).exists() else name

    ms = absolute(job.ms) if isinstance(job.ms, str) else [absolute(name) for name in job.ms]
    product = job.product and absolute(job.product)
    return replace(job, pan=absolute(job.pan), ms=ms, product=product)


def sharpen_on(
    client: Client,
    jobs: Sequence[Job],
    out: str | Path,
    sharpen: SharpenScene,
    *,
    suffix: str = ".tif",
    overwrite: bool = False,
    end: Callable[[str], None] = lambda name: None,
) -> BatchResult:
    """As `ksdiff.inference.batch.sharpen_batch`, scenes side by side on a cluster.

    Inputs and ``out`` must have the same paths on every worker. A worker that is lost gives its
    scene back, and another one begins it again; results appear whole or not at all.

    Raises:
        KSDiffError: the folder cannot be made. What goes wrong with a scene is in the result.
    """
    from distributed import as_completed

    result = BatchResult()
    todo = planned(jobs, Path(out).absolute(), suffix, overwrite, result)
    for name in result.skipped:
        end(name)
    submit = partial(client.submit, outcome, sharpen, pure=False, retries=_RETRIES)
    futures = {submit(_absolute(job), target): job.name for job, target in todo}
    try:
        for future in as_completed(futures):
            name = futures[future]
            lost = future.status == "error"
            result.add(name, str(future.exception()) if lost else future.result())
            end(name)
    finally:
        client.cancel(list(futures))
    return result
