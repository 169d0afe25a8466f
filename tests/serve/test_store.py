import threading
import time

import pytest

from ksdiff import KSDiffError
from ksdiff.serve.store import Full, Store


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "state")
    yield made
    made.close()


def test_each_job_is_done_once(store):
    added = [store.add({"number": k}, 40).id for k in range(40)]
    taken, lock = [], threading.Lock()

    def work():
        while (job := store.take()) is not None:
            with lock:
                taken.append(job.id)
            store.finish(job.id, "successful", "", {"seconds": 1})

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(added)
    assert {job.status for job in store.newest(100)} == {"successful"}
    assert store.get(added[7]).request == {"number": 7}


def test_no_more_wait_than_may(store):
    store.add({}, 2)
    running = store.take()
    store.add({}, 2)
    with pytest.raises(Full, match="2 jobs are waiting or running"):
        store.add({}, 2)
    store.finish(running.id, "failed", "")
    store.add({}, 2)


def test_what_ran_when_a_process_ended_waits_again(tmp_path):
    first = Store(tmp_path)
    job, other = first.add({}, 9), first.add({}, 9)
    assert first.take().id == job.id
    with pytest.raises(KSDiffError, match="another server"):
        Store(tmp_path)
    first.close()
    second = Store(tmp_path)
    assert [second.take().id for _ in range(2)] == [job.id, other.id]
    second.close()


def test_a_dismissed_job_stays_so_and_loses_its_results(store):
    job = store.add({}, 9)
    store.take()
    store.result(job.id).write_bytes(b"half")
    store.dismiss(job.id)
    assert store.get(job.id).status == "dismissed"
    store.finish(job.id, "successful", "", {})
    assert store.get(job.id).status == "dismissed"
    assert not store.result(job.id).exists()


def test_old_jobs_are_forgotten_with_their_results(store):
    old, waiting = store.add({}, 9), store.add({}, 9)
    store.take()
    store.finish(old.id, "successful", "", {})
    store.result(old.id).write_bytes(b"tif")
    store.purge(time.time() - 60)
    assert store.get(old.id)
    store.purge(time.time() + 60)
    assert store.get(old.id) is None
    assert not store.result(old.id).exists()
    assert store.get(waiting.id)
