"""Jobs on disk: they outlive the process."""

from __future__ import annotations

import fcntl
import json
import sqlite3
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from ksdiff.errors import KSDiffError

# As OGC API - Processes calls them.
WAITING, RUNNING, DONE, FAILED, DISMISSED = (
    *("accepted", "running", "successful", "failed", "dismissed"),
)
_COLUMNS = "id, status, request, progress, message, summary, created, started, finished"
_TABLE = """
create table if not exists jobs (
    number integer primary key, id text unique, status text not null, request text not null,
    progress integer not null default 0, message text not null default '', summary text,
    created real not null, started real, finished real
)"""


@dataclass(frozen=True)
class Job:
    id: str
    status: str
    request: dict
    progress: int  # percent
    message: str
    summary: dict | None  # of a successful one
    created: float  # seconds since 1970
    started: float | None
    finished: float | None


class Full(KSDiffError):
    """The queue is full."""


class Store:
    """Jobs in a folder that one process uses at a time; safe for its threads.

    Jobs that ran when the last process ended wait again.

    Raises:
        KSDiffError: the folder cannot be made, or another process uses it.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.results = self.folder / "results"
        try:
            self.results.mkdir(parents=True, exist_ok=True)
            self._held = (self.folder / "lock").open("w")
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise KSDiffError(f"state {folder}: is used by another server") from None
        except OSError as error:
            raise KSDiffError(f"state {folder}: cannot be written: {error.strerror}") from None
        self.changed = threading.Condition()
        self._base = sqlite3.connect(self.folder / "jobs.sqlite", check_same_thread=False)
        with self.changed, self._base:
            self._base.execute("pragma journal_mode=wal")
            self._base.execute(_TABLE)
            self._base.execute(
                "update jobs set status = ?, progress = 0 where status = ?", (WAITING, RUNNING)
            )

    def close(self) -> None:
        with self.changed:
            self._base.close()
        self._held.close()

    def add(self, request: dict, most: int) -> Job:
        """A new job.

        Raises:
            Full: ``most`` wait or run.
        """
        with self.changed, self._base:
            (busy,) = self._base.execute(
                "select count(*) from jobs where status in (?, ?)", (WAITING, RUNNING)
            ).fetchone()
            if busy >= most:
                raise Full(
                    f"{busy} jobs are waiting or running, which is the limit; try again later"
                )
            job = uuid.uuid4().hex
            row = self._base.execute(
                "insert into jobs (id, status, request, created) values (?, ?, ?, ?) "
                f"returning {_COLUMNS}",
                (job, WAITING, json.dumps(request), time.time()),
            ).fetchone()
            self.changed.notify_all()
            return _job(row)

    def get(self, job: str) -> Job | None:
        with self.changed:
            return self._get(job)

    def newest(self, count: int) -> list[Job]:
        with self.changed:
            query = f"select {_COLUMNS} from jobs order by number desc limit ?"
            return [_job(row) for row in self._base.execute(query, (count,))]

    def take(self) -> Job | None:
        """The job that has waited longest, running from now on; None where none waits."""
        with self.changed, self._base:
            row = self._base.execute(
                "select id from jobs where status = ? order by number limit 1", (WAITING,)
            ).fetchone()
            if row is None:
                return None
            self._base.execute(
                "update jobs set status = ?, started = ? where id = ?",
                (RUNNING, time.time(), row[0]),
            )
            return self._get(row[0])

    def tell(self, job: str, progress: int, message: str) -> None:
        """How far a running job is."""
        self._update("progress = ?, message = ?", job, progress, message)

    def wait_again(self, job: str) -> None:
        self._update("status = ?, progress = 0", job, WAITING)

    def finish(self, job: str, status: str, message: str, summary: dict | None = None) -> None:
        """End a running job; one that was dismissed meanwhile stays so."""
        progress = ", progress = 100" if status == DONE else ""
        self._update(
            f"status = ?, message = ?, summary = ?, finished = ?{progress}",
            *(job, status, message, json.dumps(summary), time.time()),
        )

    def dismiss(self, job: str) -> None:
        """Cancel a job that waits or runs, remove the results of one that has ended."""
        with self.changed, self._base:
            self._base.execute(
                "update jobs set status = ?, message = 'dismissed', finished = ? where id = ?",
                (DISMISSED, time.time(), job),
            )
            self._remove(job)

    def dismissed(self, job: str) -> bool:
        known = self.get(job)
        return known is None or known.status == DISMISSED

    def purge(self, before: float) -> None:
        """Forget jobs that ended before, with their results."""
        with self.changed, self._base:
            old = self._base.execute("select id from jobs where finished < ?", (before,)).fetchall()
            for (job,) in old:
                self._remove(job)
                self._base.execute("delete from jobs where id = ?", (job,))

    def result(self, job: str, suffix: str = ".tif") -> Path:
        return self.results / f"{job}{suffix}"

    def _remove(self, job: str) -> None:
        for suffix in (".tif", ".html"):
            self.result(job, suffix).unlink(missing_ok=True)

    def _update(self, changes: str, job: str, *values: object) -> None:
        with self.changed, self._base:
            self._base.execute(
                f"update jobs set {changes} where id = ? and status = ?", (*values, job, RUNNING)
            )

    def _get(self, job: str) -> Job | None:
        query = f"select {_COLUMNS} from jobs where id = ?"
        row = self._base.execute(query, (job,)).fetchone()
        return None if row is None else _job(row)


def _job(row: tuple) -> Job:
    job, status, request, progress, message, summary, *times = row
    known = None if summary is None else json.loads(summary)
    return Job(job, status, json.loads(request), progress, message, known, *times)
