"""Batches on a dask cluster of real processes."""

import os
import signal
import subprocess
import sys
import time

import pytest

from ksdiff.errors import KSDiffError
from ksdiff.inference.batch import BatchResult, SharpenScene, sharpen_batch
from ksdiff.inference.cluster import cluster, sharpen_on
from ksdiff.inference.options import SharpenOptions
from ksdiff.io.geotiff import write_scene
from ksdiff.io.jobs import list_jobs
from ksdiff.io.output_options import OutputOptions
from ksdiff.synthetic.scene import procedural_scene

pytest.importorskip("distributed")
SCENES = 4


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    for seed in range(SCENES):
        pan, ms, _ = procedural_scene(seed, 128, 3, 2)
        write_scene(folder, f"s{seed}", pan, ms)
    return folder


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """The address of a scheduler with two workers, and the workers' processes."""
    file = tmp_path_factory.mktemp("scheduler") / "scheduler.json"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def start(command, *words):
        line = [sys.executable, "-m", f"distributed.cli.{command}", *words]
        return subprocess.Popen(line, env=environment, stderr=subprocess.DEVNULL)

    scheduler = start(
        *("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--dashboard-address", ":0"),
        *("--scheduler-file", str(file)),
    )
    workers = [
        start(
            *("dask_worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-nanny"),
            *("--no-dashboard", "--local-directory", str(file.parent)),
        )
        for _ in range(2)
    ]
    try:
        for _ in range(600):
            if file.exists():
                break
            time.sleep(0.1)
        from distributed import Client

        with Client(scheduler_file=str(file)) as client:
            client.wait_for_workers(2, timeout=90)
            address = client.scheduler.address
        yield address, workers
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()


def test_a_lost_worker_loses_no_scene_and_changes_no_pixel(scenes, processes, tmp_path):
    address, workers = processes
    jobs = list_jobs(scenes)
    sharpen = SharpenScene(None, SharpenOptions(), OutputOptions(), overwrite=False)
    ended = []

    def end(name):
        ended.append(name)
        if len(ended) == 1:
            os.kill(workers[0].pid, signal.SIGKILL)

    with cluster(address, None) as client:
        result = sharpen_on(client, jobs, tmp_path / "cluster", sharpen, end=end)
        assert sorted(result.done) == sorted(ended) == sorted(job.name for job in jobs)
        again = sharpen_on(client, jobs, tmp_path / "cluster", sharpen)
    assert again == BatchResult([], [job.name for job in jobs], {})
    alone = sharpen_batch(jobs[:2], tmp_path / "alone", sharpen)
    for name in alone.done:
        files = [
            (tmp_path / folder / f"{name}.tif").read_bytes() for folder in ("cluster", "alone")
        ]
        assert files[0] == files[1]
    made = [name for name in os.listdir(tmp_path / "cluster") if not name.startswith(".")]
    assert sorted(made) == [f"s{number}.tif" for number in range(SCENES)]


def test_a_scene_that_fails_is_told_and_ends_no_other(scenes, processes, tmp_path):
    jobs = [*list_jobs(scenes)[:1], *list_jobs(_broken(tmp_path))]
    sharpen = SharpenScene(None, SharpenOptions(method="exp"), OutputOptions())
    with cluster(processes[0], None) as client:
        result = sharpen_on(client, jobs, tmp_path / "out", sharpen)
    assert result.done == ["s0"] and "missing.tif" in result.failed["b"]


def _broken(folder):
    path = folder / "list.csv"
    path.write_text("pan,ms,name\nmissing.tif,missing_ms.tif,b\n")
    return path


def test_a_scheduler_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr("ksdiff.inference.cluster._WAIT", 1)
    with (
        pytest.raises(KSDiffError, match=r"scheduler tcp://127.0.0.1:9: no answer"),
        cluster("tcp://127.0.0.1:9", None),
    ):
        pass
