"""Scenes of a batch on a dask cluster: one task per scene, or per row of windows of a large one."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ksdiff.errors import KSDiffError
from ksdiff.inference.batch import BatchResult, SharpenScene, planned, reason
from ksdiff.inference.rows import Rows
from ksdiff.io.jobs import Job
from ksdiff.runtime import keep_freed_memory

if TYPE_CHECKING:
    from distributed import Client, Future, Worker, WorkerPlugin

_WAIT = 15  # seconds for a scheduler to answer
SPLIT = 64  # megapixels of PAN: minutes on a core
_SAME = ("dask", "distributed", "torch", "ksdiff")  # packages of one version everywhere


@contextmanager
def cluster(scheduler: str | None, workers: int | None) -> Iterator[Client]:
    """A client of a running scheduler, or of ``workers`` processes on this machine.

    Raises:
        KSDiffError: no scheduler answers, workers with another version of KSDiff or of dask, dask
            is not installed.
    """
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError:
        raise KSDiffError(
            "scheduler and workers: need dask; install it with pip install 'ksdiff[dask]'"
        ) from None
    if scheduler is None:
        share = max((os.cpu_count() or 1) // (workers or 1), 1)
        # Rows first go to the worker that holds the prior; whoever is free takes them from it.
        with dask.config.set({"distributed.scheduler.work-stealing-interval": "100ms"}):
            local = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                memory_limit=0,  # a scene's memory is bounded by its tiles; dask would end workers
                dashboard_address=None,
                silence_logs=logging.CRITICAL,  # what fails is told in the end
                env={"OMP_NUM_THREADS": str(share), "OMP_WAIT_POLICY": "PASSIVE"},
            )
        with local, Client(local) as client:
            client.register_plugin(_ready(_gpus()))
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
        client.register_plugin(_ready())
        yield client


def _ready(gpus: Sequence[str] = ()) -> WorkerPlugin:
    """Prepares workers before their first computation.

    Dask lets malloc return freed memory at once, and clearing new pages for every window then takes
    as long as fusing it. Of GPUs each worker is shown one; more workers than GPUs share them.
    """
    from distributed import WorkerPlugin

    class Ready(WorkerPlugin):
        name = "ksdiff"

        def setup(self, worker: Worker) -> None:
            keep_freed_memory()
            if gpus:
                os.environ["CUDA_VISIBLE_DEVICES"] = gpus[int(worker.name) % len(gpus)]

    return Ready()


def _gpus() -> list[str]:
    """As CUDA_VISIBLE_DEVICES names them; those that this process may use."""
    import torch

    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shown is not None:
        return [name.strip() for name in shown.split(",") if name.strip()]
    return [str(number) for number in range(torch.cuda.device_count())]


def _check_versions(client: Client, scheduler: str) -> None:
    """A worker of another version would give other pixels, or none."""
    found: Any = client.get_versions(packages=["ksdiff", "torch"])
    here = found["client"]["packages"]
    places = {"it": found["scheduler"]}
    places |= {f"worker {address}": each for address, each in found["workers"].items()}
    for place, each in places.items():
        for package in _SAME:
            there = each["packages"].get(package)
            if _release(there) != _release(here[package]):
                raise KSDiffError(
                    f"scheduler {scheduler}: {place} has {package} {there or 'not installed'}, "
                    f"this is {here[package] or 'not installed'}; install the same everywhere"
                )
    if not found["workers"]:
        raise KSDiffError(
            f"scheduler {scheduler}: it has no workers; start some with "
            f"dask worker {scheduler} --nthreads 1"
        )


def _release(version: str | None) -> str | None:
    """The version without its build tag: 2.13.0 for 2.13.0+cpu."""
    return version and version.partition("+")[0]


@dataclass
class _Scene:
    """A scene on its way."""

    name: str
    steps: Iterator[list[Future]]
    count: int = 0  # of the tasks of the step that is done at present
    waiting: set[Future] = field(default_factory=set)


def _begun(sharpen: SharpenScene, job: Job, target: Path, least: float) -> Rows | None:
    """Sharpen a scene, or say how it is done row by row."""
    rows = Rows.of(sharpen, job, target, least)
    if rows is None:
        sharpen(job, target)
    return rows


def _steps(
    submit: Callable[..., Future], sharpen: SharpenScene, job: Job, target: Path, least: float
) -> Iterator[list[Future]]:
    """The tasks of a scene, step by step: those of the next one are known when all have ended."""
    first = submit(_begun, sharpen, job, target, least)
    yield [first]
    rows = first.result()
    if rows is None:
        return
    submit = partial(submit, priority=1)  # finish what has begun
    if missing := rows.missing():
        surveys = [submit(rows.survey, row) for row in range(rows.surveys)]
        prepared = submit(rows.prepare, surveys)
        yield [submit(rows.fuse, row, prepared) for row in missing]
    yield [submit(rows.write)]
    rows.remove()


def sharpen_on(
    client: Client,
    jobs: Sequence[Job],
    out: str | Path,
    sharpen: SharpenScene,
    *,
    suffix: str = ".tif",
    overwrite: bool = False,
    split: float = SPLIT,
    end: Callable[[str], None] = lambda name: None,
    told: Callable[[str, int, int], None] = lambda name, done, count: None,
) -> BatchResult:
    """As `ksdiff.inference.batch.sharpen_batch`, scenes side by side on a cluster.

    Inputs and ``out`` must have the same paths on every worker and here. If a worker is
    lost, another one starts its scene or row again; results appear whole or not at all.

    Args:
        split: megapixels of PAN above which the rows of windows of a scene are tasks of their own.
        told: called with the name of such a scene, how many of its rows are done, and how many
            there are.

    Raises:
        KSDiffError: the folder cannot be created. Failures of single scenes are in the result.
    """
    result = BatchResult()
    todo = planned(jobs, Path(out), suffix, overwrite, result)
    for name in result.skipped:
        end(name)
    # What is there by now was written by a worker that was lost before it could say so.
    sharpen = replace(sharpen, overwrite=True)
    submit = partial(client.submit, pure=False)
    running = _Running(client, result, end, told)
    try:
        for job, target in todo:
            running.advance(_Scene(job.name, _steps(submit, sharpen, job, target, split * 1e6)))
        running.wait()
    finally:
        running.cancel()
    return result


class _Running:
    """Scenes of a batch that are on their way; callbacks as for `sharpen_on`."""

    def __init__(
        self,
        client: Client,
        result: BatchResult,
        end: Callable[[str], None],
        told: Callable[[str, int, int], None],
    ) -> None:
        from distributed import as_completed

        self._client, self._result, self._end, self._told = client, result, end, told
        self._ended = as_completed()
        self._owners: dict[Future, _Scene] = {}

    def advance(self, scene: _Scene) -> None:
        """Begin a scene's next step; without one it is done."""
        futures = next(scene.steps, [])
        scene.count, scene.waiting = len(futures), set(futures)
        self._owners.update(dict.fromkeys(futures, scene))
        self._ended.update(futures)
        if not futures:
            self._finish(scene, None)

    def wait(self) -> None:
        """Until all scenes are done or have failed."""
        for future in self._ended:
            scene = self._owners.pop(future, None)
            if scene is None:  # of a scene that has failed
                continue
            if future.status != "finished":
                self._finish(scene, _why(future))
                continue
            scene.waiting.discard(future)
            if scene.count > 1:
                self._told(scene.name, scene.count - len(scene.waiting), scene.count)
            if not scene.waiting:
                self.advance(scene)

    def cancel(self) -> None:
        self._client.cancel(list(self._owners))

    def _finish(self, scene: _Scene, failed: str | None) -> None:
        for future in scene.waiting:
            self._owners.pop(future, None)
        self._client.cancel(list(scene.waiting))
        self._result.add(scene.name, failed)
        self._end(scene.name)


def _why(future: Future) -> str:
    """Why a task failed."""
    from distributed import KilledWorker

    error = future.exception()
    if isinstance(error, KilledWorker):
        return "several workers were lost while they did it; do they have too little memory?"
    return reason(error or CancelledError("the task was cancelled"))
