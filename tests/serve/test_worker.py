import sqlite3
import time

import pytest

from ksdiff.inference.options import SharpenOptions
from ksdiff.io.geotiff import write_scene
from ksdiff.serve import worker
from ksdiff.serve.allowed import Allowed
from ksdiff.serve.options import ServeOptions
from ksdiff.serve.store import Store

REQUEST = {
    **{"pan": ["a_pan.tif"], "ms": ["a_ms.tif"], "options": {"method": "exp"}},
    **{"reading": {}, "output": {}, "report": False},
}


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "state")
    yield made
    made.close()


@pytest.fixture
def work(tmp_path, scene, store):
    """Do jobs until all of them have ended; returns how."""
    write_scene(tmp_path, "a", scene[0][:, :64, :64], scene[1][:, :16, :16])

    def work_with(**limits) -> list[tuple[str, str]]:
        options = ServeOptions(root=(str(tmp_path),), **limits)
        allowed = Allowed(options.root, ())
        workers = worker.Workers(store, allowed, options, SharpenOptions(device="cpu"))
        workers.start()
        end = time.monotonic() + 60
        while any(job.finished is None for job in store.newest(9)) and time.monotonic() < end:
            time.sleep(0.02)
        workers.stop()
        return [(job.status, job.message) for job in reversed(store.newest(9))]

    return work_with


def test_a_state_folder_that_cannot_be_written_for_a_while_costs_one_job(store, work, monkeypatch):
    monkeypatch.setattr(worker, "_AGAIN", 0.01)
    finish, refusals = store.finish, iter(range(3))

    def full(*arguments):
        if next(refusals, None) is not None:
            raise sqlite3.OperationalError("database or disk is full")
        finish(*arguments)

    monkeypatch.setattr(store, "finish", full)
    for _ in range(2):
        store.add(REQUEST, 9)
    first, second = work()
    assert first == ("failed", "the state folder could not be written")
    assert second[0] == "successful"


def test_a_job_that_takes_too_long_is_stopped(store, work):
    job = store.add(REQUEST, 9)
    assert work(minutes=1e-6) == [("failed", "stopped: a job may take 1e-06 minutes")]
    assert not store.result(job.id).exists()
