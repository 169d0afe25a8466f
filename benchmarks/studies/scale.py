"""What many scenes cost, and how many workers share them.

Core seconds of a scene, and of the steps of a large one; the time of one and two workers for the
same drawn scenes, each with a core of its own; and what the scheduler needs for tasks that only
sleep. To be run on a machine without other work.
"""

import itertools
import logging
import math
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.markdown import Row, cores_and_load, nested, noted, row_table, table, two_digits
from benchmarks.results import Result
from ksdiff.inference.batch import SharpenScene
from ksdiff.inference.options import SharpenOptions
from ksdiff.inference.processes import Recipe, sharpener_of
from ksdiff.inference.rows import Rows
from ksdiff.inference.sharpen import Sharpener
from ksdiff.io.jobs import Job, list_jobs
from ksdiff.io.output_options import OutputOptions
from ksdiff.synthetic.simulate import draw_scenes

SIDE = 1024  # PAN pixels of the scenes whose cost is measured
GRIDS = ((4, 4), (8, 4), (6, 2))  # bands, ratio
SCENES, SMALL, LARGE = 12, 512, 3072  # so many small scenes, or a large one, for workers
TRIES = 3  # of each count of workers; the quickest counts
WINDOW = 1.0  # seconds that a simulated task sleeps: about a window of 512 x 512
PLACES = ((2, 5), (4, 25), (4, 250))  # workers, threads of each
ROUNDS = 5  # tasks a place
_SAMPLE = 2  # bytes
# Name, PAN pixel in metres, ratio, bands.
SENSORS = (
    ("Landsat 8/9", 15.0, 2, 6),
    ("Sentinel-2, 20 m to 10 m", 10.0, 2, 6),
    ("PlanetScope-like, 3 m from 6 m", 3.0, 2, 8),
    ("GF-2", 0.8, 4, 4),
    ("WorldView-3", 0.31, 4, 8),
    ("Pléiades Neo", 0.3, 4, 6),
)


def costs(price: float = 0.04) -> Iterator[dict]:
    """Core seconds of whole calls, files to file, weights loaded and first call made before.

    PRICE is that of a core hour, in whatever currency.
    """
    for bands, ratio in GRIDS:
        sharpener = Sharpener(device="cpu")
        with tempfile.TemporaryDirectory() as folder:
            for name, size in (("warm", 256), ("scene", SIDE)):
                draw_scenes(Path(folder), name, size=size, bands=bands, ratio=ratio)
                files = [f"{folder}/{name}_{role}.tif" for role in ("pan", "ms", "out")]
                began = time.process_time()
                sharpener.sharpen_files(*files)
                seconds = time.process_time() - began
        facts = {"bands": bands, "ratio": ratio, "side": SIDE, "price": price}
        yield {**facts, "core_seconds": seconds}


def steps() -> Iterator[dict]:
    """Core seconds of the steps of a large scene, one after the other in one process."""
    with tempfile.TemporaryDirectory() as folder:
        draw_scenes(Path(folder), "large", size=LARGE)
        (job,) = list_jobs(folder)
        rows = Rows.of(_sharpen(), job, Path(folder, "out.tif"), least=0)
        found: dict[str, object] = {}
        works = {
            "survey": lambda: [rows.survey(row) for row in range(rows.surveys)],
            "prior": lambda: rows.prepare(found["survey"]),
            "windows": lambda: [rows.fuse(row, found["prior"]) for row in range(rows.count)],
            "writing": rows.write,
        }
        for name, work in works.items():
            before = _spent()
            found[name] = work()
            after = _spent()
            spent = {fact: after[fact] - before[fact] for fact in after}
            yield {"side": LARGE, "step": name, **spent}


def _spent() -> dict[str, float]:
    """Core seconds of this process so far, and bytes that it has read and written, what the system
    keeps in memory too."""
    counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    moved = {"read": int(counts["rchar"]), "written": int(counts["wchar"])}
    return {"core_seconds": time.process_time(), **moved}


def workers() -> Iterator[dict]:
    """The time of one and of two workers, a core each, for the same scenes."""
    with tempfile.TemporaryDirectory() as folder:
        scenes = {"small": (SCENES, SMALL), "large": (1, LARGE)}
        for name, (count, size) in scenes.items():
            draw_scenes(Path(folder, name), name, count, size)
        jobs = {name: list_jobs(Path(folder, name)) for name in scenes}
        for name, count in itertools.product(scenes, (1, 2)):
            times = [_time_of(jobs[name], jobs["small"][0], count) for _ in range(TRIES)]
            yield {"scenes": name, "workers": count, "seconds": min(times), "tries": TRIES}


def _time_of(jobs: list[Job], warm: Job, workers: int) -> float:
    """Seconds of a cluster for these scenes, its start and its loading of weights left out."""
    from ksdiff.inference.cluster import cluster, sharpen_on

    with cluster(None, workers) as client, tempfile.TemporaryDirectory() as folder:
        for core, worker in enumerate(client.scheduler_info()["workers"]):
            client.run(_keep_to, core, workers=[worker])
            client.submit(_warm, warm, Path(folder, f"{core}.tif"), workers=[worker]).result()
        began = time.perf_counter()
        done = sharpen_on(client, jobs, Path(folder, "out"), _sharpen(), split=0.5)
        seconds = time.perf_counter() - began
    if done.failed:
        raise SystemExit(f"scenes failed: {done.failed}")
    return seconds


def _keep_to(core: int) -> None:
    """Run this process, threads of GDAL's included, on one core."""
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), {core})


def _warm(job: Job, out: Path) -> None:
    torch.set_num_threads(1)  # of the thread that does a worker's tasks
    pan, ms = job.rasters
    sharpener_of(_sharpen().recipe).sharpen_files(pan, ms, out)


def _sharpen() -> SharpenScene:
    return SharpenScene(Recipe.of(None, SharpenOptions(device="cpu")), OutputOptions())


def scheduler() -> Iterator[dict]:
    """The scheduler's share: tasks like those of a large scene that only sleep.

    Scheduler and client are one process, as in ``ksdiff batch --workers``; its core time counts.
    """
    from distributed import Client, LocalCluster, as_completed

    for workers, threads in PLACES:
        local = LocalCluster(
            n_workers=workers,
            threads_per_worker=threads,
            memory_limit=0,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        )
        tasks = ROUNDS * workers * threads
        with local, Client(local) as client:
            prepared = client.submit(dict)
            prepared.result()
            began, cores = time.perf_counter(), time.process_time()
            waits = [client.submit(_wait, k, prepared, pure=False) for k in range(tasks)]
            for _ in as_completed(waits):
                pass
            seconds, cores = time.perf_counter() - began, time.process_time() - cores
        facts = {"places": workers * threads, "workers": workers, "tasks": tasks, "sleep": WINDOW}
        yield {**facts, "seconds": seconds, "core_ms_per_task": 1e3 * cores / tasks}


def _wait(number: int, prepared: dict) -> None:
    time.sleep(WINDOW)


def core_seconds(rows: list[dict], bands: int, ratio: int) -> float:
    """Of a PAN pixel, between and beyond the band counts that were measured at about that ratio."""
    known = sorted((r["bands"], r["core_seconds"] / r["side"] ** 2) for r in rows)
    exact = [r for r in rows if (r["bands"], r["ratio"]) == (bands, ratio)]
    if exact:
        return exact[0]["core_seconds"] / exact[0]["side"] ** 2
    (low, less), (high, more) = known[0], known[-1]
    return less + (more - less) * (bands - low) / (high - low)


def cost_table(found: Result) -> str:
    rows, price = [], found.rows[0]["price"]
    for name, metres, ratio, bands in SENSORS:
        pixels = 1e12 / metres**2  # of a million km²
        hours = pixels * core_seconds(found.rows, bands, ratio) / 3600
        written = _SAMPLE * pixels * bands
        # Everything is read twice: for its statistics, and to be fused.
        read = 2 * (_SAMPLE * pixels + written / ratio**2)
        counts = (f"{count / 1e12:.3g}" for count in (pixels, read, written))
        rows.append([name, str(bands), *counts, two_digits(hours), two_digits(hours * price)])
    head = ["a million km²", "bands", "10¹² PAN pixels", "TB read", "TB written", "core hours"]
    speeds = "; ".join(
        f"{r.side**2 / r.core_seconds / 1e6:.2f} for {r.bands} bands at ratio {r.ratio}"
        for r in (Row(**row) for row in found.rows)
    )
    note = f"Megapixels of PAN a core second: {speeds}. "
    return noted(table([*head, f"money at {price:g} an hour"], rows), found, note)


def workers_table(found: Result) -> str:
    titles = {
        "small": f"{SCENES} scenes of {SMALL} x {SMALL}",
        "large": f"one scene of {LARGE} x {LARGE} by rows",
    }
    times, rows = nested(found.rows, "scenes", "workers"), []
    for scenes, title in titles.items():
        one, two = (times[scenes][workers]["seconds"] for workers in (1, 2))
        rows.append([title, f"{one:.1f} s", f"{two:.1f} s", f"{one / two / 2:.0%}"])
    head = ["PAN pixels, 4 bands", "one worker", "two workers", "efficiency"]
    return noted(table(head, rows), found, cores_and_load(found))


def steps_table(found: Result) -> str:
    total = sum(row["core_seconds"] for row in found.rows)
    head = "step, for a megapixel of PAN | core time | share | read | written"

    def cells(r: Row) -> str:
        pixels, share = r.side**2, f"{r.core_seconds / total:.1%}"
        bytes_moved = f"{r.read / pixels:.1f} MB | {r.written / pixels:.1f} MB"
        return f"{r.step} | {r.core_seconds / pixels * 1e6:.2f} s | {share} | {bytes_moved}"

    return row_table(found, head, cells)


def scheduler_table(found: Result) -> str:
    head = f"places | tasks of {WINDOW:g} s | core time a task | efficiency | tasks a second"

    def cells(r: Row) -> str:
        own, least = r.core_ms_per_task, r.sleep * math.ceil(r.tasks / r.places)
        efficiency = f"{least / r.seconds:.0%}"
        return f"{r.places} | {r.tasks} | {own:.2f} ms | {efficiency} | {1e3 / own:.0f}"

    return row_table(found, head, cells)
