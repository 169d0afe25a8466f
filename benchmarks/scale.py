"""What many scenes cost, and how many workers share them: `python -m benchmarks.scale`

Run it on a machine without other work. Writes benchmarks/results/scale.json: core seconds of a
scene, and of the steps of a large one; the time of one and two workers for the same drawn scenes,
each with a core of its own; and what the scheduler needs for tasks that only sleep. `--only`
measures a part again and keeps the others.
"""

import argparse
import logging
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import torch

from benchmarks.markdown import origin, table
from benchmarks.results import RESULTS, header, read, write
from ksdiff.inference.batch import SharpenScene
from ksdiff.inference.options import SharpenOptions
from ksdiff.inference.processes import Prepared, Recipe, sharpener_of
from ksdiff.inference.rows import Rows
from ksdiff.inference.sharpen import Sharpener
from ksdiff.io.jobs import Job, list_jobs
from ksdiff.io.output_options import OutputOptions
from ksdiff.synthetic.simulate import draw_scenes

T = TypeVar("T")

PRICE = 0.04  # of a core hour, in whatever currency
SIDE = 1024  # PAN pixels of the scenes whose cost is measured
GRIDS = ((4, 4), (8, 4), (6, 2))  # bands, ratio
SCENES, SMALL, LARGE = 12, 512, 3072  # so many small scenes, or a large one, for workers
TRIES = 3  # of each count of workers; the quickest counts
WINDOW = 1.0  # seconds that a simulated task sleeps: about a window of 512 x 512
PLACES = ((2, 5), (4, 25), (4, 250))  # workers, threads of each
ROUNDS = 5  # tasks a place
# Name, PAN pixel in metres, ratio, bands, bytes of a PAN and of an MS sample.
SENSORS = (
    ("Landsat 8/9", 15.0, 2, 6, 2, 2),
    ("Sentinel-2, 20 m to 10 m", 10.0, 2, 6, 2, 2),
    ("PlanetScope-like, 3 m from 6 m", 3.0, 2, 8, 2, 2),
    ("GF-2", 0.8, 4, 4, 2, 2),
    ("WorldView-3", 0.31, 4, 8, 2, 2),
    ("Pléiades Neo", 0.3, 4, 6, 2, 2),
)


def costs(folder: Path) -> Iterator[dict]:
    """Core seconds of whole calls, files to file, weights loaded and first call made before."""
    for bands, ratio in GRIDS:
        sharpener = Sharpener(device="cpu")
        for name, size in (("warm", 256), ("scene", SIDE)):
            draw_scenes(folder, f"{name}{bands}", size=size, bands=bands, ratio=ratio)
            files = [str(folder / f"{name}{bands}_{role}.tif") for role in ("pan", "ms", "out")]
            began = time.process_time()
            sharpener.sharpen_files(*files)
            seconds = time.process_time() - began
        yield {
            "bands": bands,
            "ratio": ratio,
            "side": SIDE,
            "core_seconds": seconds,
        }


def steps(folder: Path) -> Iterator[dict]:
    """Core seconds of the steps of a large scene, one after the other in one process."""
    draw_scenes(folder, "large", size=LARGE)
    (job,) = list_jobs(folder)
    rows = Rows.of(_sharpen(), job, folder / "out.tif", least=0)

    def fuse(prepared: Prepared) -> None:
        for row in range(rows.count):
            rows.fuse(row, prepared)

    def step(name: str, work: Callable[[], T]) -> T:
        before, began = _moved(), time.process_time()
        result = work()
        seconds, after = time.process_time() - began, _moved()
        read, written = (b - a for a, b in zip(before, after, strict=True))
        found.append({"step": name, "core_seconds": seconds, "read": read, "written": written})
        return result

    found: list[dict] = []
    surveys = step("survey", lambda: [rows.survey(row) for row in range(rows.surveys)])
    prepared = step("prior", lambda: rows.prepare(surveys))
    step("windows", lambda: fuse(prepared))
    step("writing", rows.write)
    for row in found:
        yield {"side": LARGE, **row}


def _moved() -> list[int]:
    """Bytes that this process has read and written so far, what the system keeps in memory too."""
    counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return [int(counts[name]) for name in ("rchar", "wchar")]


def shared(folder: Path) -> Iterator[dict]:
    """The time of one and of two workers, a core each, for the same scenes."""
    draw_scenes(folder / "small", "small", SCENES, SMALL)
    draw_scenes(folder / "large", "large", 1, LARGE)
    small = list_jobs(folder / "small")
    for name in ("small", "large"):
        times: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(TRIES):
            for workers, known in times.items():
                known.append(_time_of(list_jobs(folder / name), small[0], workers))
        for workers, known in times.items():
            yield {"scenes": name, "workers": workers, "seconds": min(known), "tries": TRIES}


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


def simulated(folder: Path) -> Iterator[dict]:
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
        yield {
            "places": workers * threads,
            "workers": workers,
            "tasks": tasks,
            "sleep": WINDOW,
            "seconds": seconds,
            "core_ms_per_task": 1e3 * cores / tasks,
        }


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


def cost_table(path: Path, price: float = PRICE) -> str:
    head, rows = read(path)
    rows = [row for row in rows if row["part"] == "cost"]
    lines = []
    for name, pixel, ratio, bands, pan_bytes, ms_bytes in SENSORS:
        pixels = 1e12 / pixel**2  # of a million km²
        read_twice = 2 * pixels * (pan_bytes + bands * ms_bytes / ratio**2)
        hours = pixels * core_seconds(rows, bands, ratio) / 3600
        lines.append(
            [
                name,
                str(bands),
                f"{pixels / 1e12:.3g}",
                f"{read_twice / 1e12:.3g}",
                f"{pixels * bands * ms_bytes / 1e12:.3g}",
                _rounded(hours),
                _rounded(hours * price),
            ]
        )
    titles = ["a million km²", "bands", "10¹² PAN pixels", "TB read", "TB written"]
    speed = "; ".join(
        f"{row['side'] ** 2 / row['core_seconds'] / 1e6:.2f} for {row['bands']} bands at ratio "
        f"{row['ratio']}"
        for row in rows
    )
    titles += ["core hours", f"money at {price:g} an hour"]
    return f"{table(titles, lines)}\nMegapixels of PAN a core second: {speed}. {origin(head)}\n"


def workers_table(path: Path) -> str:
    head, rows = read(path)
    seconds = {(r["scenes"], r["workers"]): r["seconds"] for r in rows if r["part"] == "workers"}
    lines = [
        [title, f"{alone:.1f} s", f"{both:.1f} s", f"{alone / both / 2:.0%}"]
        for scenes, title in (
            ("small", f"{SCENES} scenes of {SMALL} x {SMALL}"),
            ("large", f"one scene of {LARGE} x {LARGE} by rows"),
        )
        for alone, both in [[seconds[scenes, workers] for workers in (1, 2)]]
    ]
    load = f"{head['cores']} cores, load {head['load_before']:.0f} of other programs before. "
    titles = ["PAN pixels, 4 bands", "one worker", "two workers", "efficiency"]
    return f"{table(titles, lines)}\n{load}{origin(head)}\n"


def steps_table(path: Path) -> str:
    head, rows = read(path)
    rows = [row for row in rows if row["part"] == "steps"]
    total = sum(row["core_seconds"] for row in rows)
    lines = [
        [
            row["step"],
            f"{row['core_seconds'] / row['side'] ** 2 * 1e6:.2f} s",
            f"{row['core_seconds'] / total:.1%}",
            *(f"{row[way] / row['side'] ** 2:.1f} MB" for way in ("read", "written")),
        ]
        for row in rows
    ]
    titles = ["step, for a megapixel of PAN", "core time", "share", "read", "written"]
    return f"{table(titles, lines)}\n{origin(head)}\n"


def scheduler_table(path: Path) -> str:
    head, rows = read(path)
    lines = [
        [
            str(row["places"]),
            str(row["tasks"]),
            f"{row['core_ms_per_task']:.2f} ms",
            f"{row['sleep'] * math.ceil(row['tasks'] / row['places']) / row['seconds']:.0%}",
            f"{1e3 / row['core_ms_per_task']:.0f}",
        ]
        for row in rows
        if row["part"] == "scheduler"
    ]
    titles = [
        "places",
        f"tasks of {WINDOW:g} s",
        "core time a task",
        "efficiency",
        "tasks a second",
    ]
    return f"{table(titles, lines)}\n{origin(head)}\n"


def _rounded(value: float) -> str:
    """Two significant digits."""
    return f"{float(f'{value:.2g}'):,.0f}" if value >= 10 else f"{value:.2g}"


PARTS = ("cost", "steps", "workers", "scheduler")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--price", type=float, default=PRICE, help="of a core hour")
    parser.add_argument("--out", type=Path, default=RESULTS / "scale.json")
    options = parser.parse_args()
    measure = {"cost": costs, "steps": steps, "workers": shared, "scheduler": simulated}
    rows = read(options.out).rows if options.only else []
    head = header("cpu")
    for part in options.only or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            rows = [row for row in rows if row["part"] != part]
            rows += ({"part": part, **row} for row in measure[part](Path(folder)))
        rows.sort(key=lambda row: PARTS.index(row["part"]))
        write(options.out, head, rows)
    print(cost_table(options.out, options.price))
    for make in (steps_table, workers_table, scheduler_table):
        print(make(options.out))


if __name__ == "__main__":
    main()
