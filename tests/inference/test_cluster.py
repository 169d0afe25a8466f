"""Batches on a dask cluster of real processes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from ksdiff.errors import KSDiffError
from ksdiff.inference.batch import BatchResult, SharpenScene, sharpen_batch
from ksdiff.inference.cluster import _gpus, _ready, cluster, sharpen_on
from ksdiff.inference.options import SharpenOptions
from ksdiff.inference.processes import Recipe
from ksdiff.io.geotiff import write_scene
from ksdiff.io.jobs import list_jobs
from ksdiff.io.output_options import OutputOptions
from ksdiff.synthetic.scene import procedural_scene

distributed = pytest.importorskip("distributed")
Client, LocalCluster = distributed.Client, distributed.LocalCluster
SCENES = 3  # small ones, and a large one
ROWS, LARGE = 5, 128**2


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    for seed in range(SCENES):
        pan, ms, _ = procedural_scene(seed, 128, 3, 2)
        write_scene(folder, f"s{seed}", pan, ms)
    pan, ms, _ = procedural_scene(9, 256 * ROWS, 3, 2)
    write_scene(folder, "large", pan[..., :256], ms[..., :128])
    return folder


def start(command, *words, **how):
    """A process of dask's."""
    line = [sys.executable, "-m", f"distributed.cli.{command}", *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(line, env=environment, stderr=subprocess.DEVNULL, **how)


def start_scheduler(file, **how):
    """A scheduler that writes its address into a file, and its process."""
    where = ("--host", "127.0.0.1", "--port", 0, "--dashboard-address", ":0")
    process = start("dask_scheduler", *where, "--scheduler-file", file, **how)
    for _ in range(600):
        if file.exists():
            break
        time.sleep(0.1)
    return json.loads(file.read_text())["address"], process


def start_worker(address, folder, **how):
    alone = ("--nthreads", 1, "--no-nanny", "--no-dashboard", "--local-directory", folder)
    return start("dask_worker", address, *alone, **how)


def end(*processes):
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """The address of a scheduler with two workers, and the workers' processes."""
    folder = tmp_path_factory.mktemp("scheduler")
    address, scheduler = start_scheduler(folder / "scheduler.json")
    workers = [start_worker(address, folder) for _ in range(2)]
    try:
        with Client(address) as client:
            client.wait_for_workers(2, timeout=90)
        yield address, workers
    finally:
        end(*workers, scheduler)


def claim(folder, package, version):
    """Make Python processes that start in a folder take a package for another version."""
    about = folder / f"{package}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Name: {package}\nVersion: {version}\n")


def test_a_lost_worker_loses_nothing_and_changes_no_pixel(scenes, processes, tmp_path):
    address, workers = processes
    jobs = list_jobs(scenes)
    sharpen = SharpenScene(Recipe.of(None, SharpenOptions(tile=256)), OutputOptions())
    ended, rows = [], []

    def told(name, done, count):
        rows.append((name, done, count))
        if len(rows) == 1:
            os.kill(workers[0].pid, signal.SIGKILL)

    with cluster(address, None) as client:
        out = tmp_path / "cluster"
        how = {"split": LARGE / 1e6, "end": ended.append, "told": told}
        result = sharpen_on(client, jobs, out, sharpen, **how)
        assert not result.failed
        assert sorted(result.done) == sorted(ended) == sorted(job.name for job in jobs)
        again = sharpen_on(client, jobs, out, sharpen)
    assert again == BatchResult([], [job.name for job in jobs], {})
    assert rows == [("large", done, ROWS) for done in range(1, ROWS + 1)]
    sharpen_batch(jobs, tmp_path / "alone", sharpen)
    for job in jobs:
        files = [(tmp_path / folder / f"{job.name}.tif") for folder in ("cluster", "alone")]
        assert files[0].read_bytes() == files[1].read_bytes()
    made = [name for name in os.listdir(out) if not re.match(r"\..*\.part\.", name)]
    assert sorted(made) == sorted(f"{job.name}.tif" for job in jobs)


def test_a_scene_that_fails_is_told_and_ends_no_other(scenes, processes, tmp_path):
    jobs = [*list_jobs(scenes)[1:2], *list_jobs(_broken(tmp_path))]
    sharpen = SharpenScene(Recipe.of(None, SharpenOptions(method="exp")), OutputOptions())
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


def test_a_worker_of_another_version_is_told_before_anything_begins(processes, tmp_path):
    address, _ = processes
    claim(tmp_path, "ksdiff", "0.0.9")
    with Client(address) as client:
        count = len(client.scheduler_info()["workers"])
        worker = start_worker(address, tmp_path, cwd=tmp_path)
        try:
            client.wait_for_workers(count + 1, timeout=90)
            words = r"worker tcp://\S+ has ksdiff 0\.0\.9, this is .*; install the same everywhere"
            with pytest.raises(KSDiffError, match=words), cluster(address, None):
                pass
        finally:
            end(worker)


def test_a_scheduler_of_another_version_or_without_workers_is_told(tmp_path):
    claim(tmp_path, "distributed", "2020.1.0")
    address, scheduler = start_scheduler(tmp_path / "scheduler.json", cwd=tmp_path)
    try:
        words = r"scheduler tcp://\S+: it has distributed 2020\.1\.0, this is"
        with pytest.raises(KSDiffError, match=words), cluster(address, None):
            pass
    finally:
        end(scheduler)
    with LocalCluster(n_workers=0, processes=False, dashboard_address=None) as empty:
        words = r"it has no workers; start some with dask worker"
        with pytest.raises(KSDiffError, match=words), cluster(empty.scheduler_address, None):
            pass


def test_a_worker_of_this_machine_sees_one_gpu(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert _gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, GPU-aa")
    seen = []
    plugin = _ready(_gpus())
    for number in range(3):
        plugin.setup(SimpleNamespace(name=number))
        seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert seen == ["5", "GPU-aa", "5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert _gpus() == []


def test_a_local_worker_is_shown_its_gpu(monkeypatch):
    monkeypatch.setattr("ksdiff.inference.cluster._gpus", lambda: ["7"])
    with cluster(None, 1) as client:
        shown = client.run(lambda: os.environ["CUDA_VISIBLE_DEVICES"])
    assert list(shown.values()) == ["7"]
