"""What many scenes cost, and how many workers share them: `python -m benchmarks.scale`

Run it on a machine without other work. Writes benchmarks/results/scale.json: core seconds of a
scene, the time of one and two workers for the same drawn scenes, and what the scheduler needs for
tasks that only sleep. `--only` measures a part again and keeps the others.
"""

import argparse
import logging
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.markdown import origin, table
from benchmarks.results import RESULTS, header, read, write

PRICE = 0.04  # of a core hour, in whatever currency
SIDE = 1024  # PAN pixels of the scenes whose cost is measured
GRIDS = ((4, 4), (8, 4), (6, 2))  # bands, ratio
SCENES, SMALL, LARGE = 6, 512, 1024  # so many small scenes and a large one, for workers
WINDOW = 1.0  # seconds that a simulated task sleeps: about a window of 512 x 512
PLACES = ((10, 1), (100, 1), (100, 10))  # workers, threads of each
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
    from ksdiff.inference.sharpen import Sharpener
    from ksdiff.synthetic.simulate import draw_scenes

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


def shared(folder: Path) -> Iterator[dict]:
    """The time of one and of two workers, a thread each, for the same scenes."""
    from distributed import Client, LocalCluster

    from ksdiff.inference.batch import SharpenScene
    from ksdiff.inference.cluster import sharpen_on
    from ksdiff.inference.options import SharpenOptions
    from ksdiff.inference.processes import Recipe
    from ksdiff.io.jobs import list_jobs
    from ksdiff.io.output_options import OutputOptions
    from ksdiff.synthetic.simulate import draw_scenes

    for number in range(SCENES):
        draw_scenes(folder, f"small{number}", size=SMALL)
    draw_scenes(folder, "large", size=LARGE)
    jobs = list_jobs(folder)
    sharpen = SharpenScene(Recipe.of(None, SharpenOptions(device="cpu")), OutputOptions())
    for workers in (1, 2):
        local = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            memory_limit=0,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
            env={"OMP_NUM_THREADS": "1"},
        )
        with local, Client(local) as client:
            warm = [job for job in jobs if job.name.startswith("small")][:workers]
            sharpen_on(client, warm, folder / f"warm{workers}", sharpen)
            began = time.perf_counter()
            done = sharpen_on(client, jobs, folder / f"out{workers}", sharpen, split=0.5)
            seconds = time.perf_counter() - began
        if done.failed:
            raise SystemExit(f"scenes failed: {done.failed}")
        yield {"workers": workers, "scenes": len(jobs), "seconds": seconds}


def simulated(folder: Path) -> Iterator[dict]:
    """The scheduler's share: tasks like those of a large scene that only sleep.

    Scheduler and workers are one process, whose core time is thus an upper bound of the
    scheduler's.
    """
    from distributed import Client, LocalCluster, as_completed

    for workers, threads in PLACES:
        local = LocalCluster(
            n_workers=workers,
            threads_per_worker=threads,
            processes=False,
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
    rows = [row for row in rows if row["part"] == "workers"]
    alone = rows[0]["seconds"]
    lines = [
        [
            str(row["workers"]),
            f"{row['seconds']:.1f} s",
            f"{alone / row['seconds'] / row['workers']:.0%}",
        ]
        for row in rows
    ]
    load = f"{head['cores']} cores, load {head['load_before']:.0f} of other programs before. "
    return f"{table(['workers', 'time', 'efficiency'], lines)}\n{load}{origin(head)}\n"


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


PARTS = ("cost", "workers", "scheduler")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--price", type=float, default=PRICE, help="of a core hour")
    parser.add_argument("--out", type=Path, default=RESULTS / "scale.json")
    options = parser.parse_args()
    measure = {"cost": costs, "workers": shared, "scheduler": simulated}
    rows = read(options.out).rows if options.only else []
    head = header("cpu")
    for part in options.only or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            rows = [row for row in rows if row["part"] != part]
            rows += ({"part": part, **row} for row in measure[part](Path(folder)))
        rows.sort(key=lambda row: PARTS.index(row["part"]))
        write(options.out, head, rows)
    for part in (cost_table(options.out, options.price), workers_table(options.out)):
        print(part)
    print(scheduler_table(options.out))


if __name__ == "__main__":
    main()
