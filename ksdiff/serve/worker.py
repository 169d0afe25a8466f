"""Threads that do the jobs."""

from __future__ import annotations

import logging
import math
import sqlite3
import threading
import time
from dataclasses import asdict

import rasterio

from ksdiff.errors import Cancelled, KSDiffError
from ksdiff.inference.options import SharpenOptions
from ksdiff.inference.progress import Stage, watched
from ksdiff.inference.sharpen import Sharpener
from ksdiff.io.image import gdal_options
from ksdiff.io.input_options import InputOptions
from ksdiff.io.output_options import OutputOptions
from ksdiff.io.rasters import open_pair
from ksdiff.serve.allowed import Allowed
from ksdiff.serve.options import ServeOptions
from ksdiff.serve.store import DONE, FAILED, Job, Store

_log = logging.getLogger(__name__)
_SHARES = {"Surveying": (0, 15), "Sharpening": (15, 90), "Reporting": (90, 95), "Judging": (95, 99)}
_PURGE = 60.0  # seconds between looks for what is too old
_AGAIN = 5.0  # seconds after which a state folder that cannot be written is tried again


class Workers:
    """Run waiting jobs until stopped; jobs that are running then wait for the next process."""

    def __init__(
        self, store: Store, allowed: Allowed, options: ServeOptions, sharpen: SharpenOptions
    ) -> None:
        self._store, self._allowed, self._options = store, allowed, options
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(Sharpener(options=sharpen),), daemon=True)
            for _ in range(options.workers)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Wait until the windows that are computed are done, and no longer."""
        self._stop.set()
        with self._store.changed:
            self._store.changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self, sharpener: Sharpener) -> None:
        purged, job = 0.0, None
        while not self._stop.is_set():
            try:
                if job is not None:  # how it ended could not be written
                    self._store.finish(job.id, FAILED, "the state folder could not be written")
                    job = None
                if time.monotonic() - purged > _PURGE:
                    purged = time.monotonic()
                    self._store.purge(time.time() - 3600 * self._options.keep)
                job = self._next()
                if job is not None:
                    self._do(job, sharpener)
                    job = None
            except sqlite3.Error:  # a full disk, which someone will empty
                _log.exception("the state folder cannot be written")
                self._stop.wait(_AGAIN)

    def _next(self) -> Job | None:
        """The next job, or None after a while without one."""
        with self._store.changed:  # so that none comes between the look and the wait
            job = self._store.take()
            if job is None and not self._stop.is_set():
                self._store.changed.wait(_PURGE)
            return job

    def _do(self, job: Job, sharpener: Sharpener) -> None:
        began = time.monotonic()

        def late() -> bool:
            return time.monotonic() - began > 60 * self._options.minutes

        def cancel() -> bool:
            return self._stop.is_set() or late() or self._store.dismissed(job.id)

        def tell(name: str, done: int, count: int) -> None:
            first, last = _SHARES.get(name, (0, 0))
            self._store.tell(job.id, first + (last - first) * done // max(count, 1), name.lower())

        try:
            summary = self._sharpen(job, sharpener, watched(tell, cancel))
        except Cancelled:
            if self._stop.is_set():
                self._store.wait_again(job.id)
            elif late():
                limit = f"{self._options.minutes:g} minutes"
                self._store.finish(job.id, FAILED, f"stopped: a job may take {limit}")
            self._remove_if_dismissed(job)
        except KSDiffError as error:
            why = self._allowed.hidden(str(error)).replace(f"{self._store.results}/", "")
            self._store.finish(job.id, FAILED, why)
        except sqlite3.Error:
            raise
        except Exception as error:  # one job's defect must not end the others
            _log.exception("job %s", job.id)
            self._store.finish(job.id, FAILED, f"unexpected {type(error).__name__}")
        else:
            self._store.finish(job.id, DONE, "", summary)
            self._remove_if_dismissed(job)

    def _sharpen(self, job: Job, sharpener: Sharpener, progress: Stage) -> dict:
        request = job.request
        pan, ms = ([self._allowed(role, name) for name in request[role]] for role in ("pan", "ms"))
        reading = InputOptions(**request["reading"])
        with rasterio.Env(**gdal_options()), open_pair(pan, ms, reading) as pair:
            pixels = math.prod(pair.shape) / 1e6
        if pixels > self._options.megapixels:
            raise KSDiffError(
                f"pan: {pixels:.1f} million pixels are shared, {self._options.megapixels:g} may be"
            )
        done = sharpener.with_options(**request["options"]).sharpen_files(
            *(pan, ms, self._store.result(job.id)),
            reading=reading,
            output=OutputOptions(**request["output"]),
            report=self._store.result(job.id, ".html") if request["report"] else None,
            overwrite=True,
            progress=progress,
        )
        said = asdict(done) | {"registration": done.registration.told, "shift": done.shift}
        said["notes"] = [self._allowed.hidden(note) for note in done.notes]
        del said["path"]
        return said

    def _remove_if_dismissed(self, job: Job) -> None:
        if self._store.dismissed(job.id):
            self._store.dismiss(job.id)
