"""Many jobs at once at `ksdiff serve`, which is killed in the middle: `python -m benchmarks.serve`

Writes benchmarks/results/serve.json. Every result must be there in the end, and be the same bytes.
"""

import argparse
import hashlib
import json
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.measure import kilobytes
from benchmarks.results import RESULTS, header, read
from ksdiff.synthetic.simulate import draw_scenes
from tests.support.service import Service

JOBS = 50
SIZE = 256  # PAN pixels
OPTIONS = {"method": "ksdiff"}


def peak_megabytes(process: int) -> float:
    """Of a process, resident, so far."""
    return kilobytes(Path(f"/proc/{process}/status"), "VmHWM") / 1024


def measure(jobs: int, size: int) -> dict:
    with tempfile.TemporaryDirectory() as name:
        root, state = Path(name, "root"), Path(name, "state")
        draw_scenes(root, "a", size=size)
        arguments = ("--root", root, "--state", state)
        first = Service(*arguments)
        names = {"pan": "a_pan.tif", "ms": "a_ms.tif", "options": OPTIONS}
        began = time.perf_counter()
        with ThreadPoolExecutor(jobs) as threads:
            taken = list(threads.map(lambda _: timed(lambda: first.post(**names)), range(jobs)))
        numbers = [number for _, number in taken]
        while (done := finished(first)) < jobs // 3:
            time.sleep(0.1)
        peaks = [peak_megabytes(first.process.pid)]
        first.kill()
        killed = time.perf_counter()
        second = Service(*arguments)
        down = time.perf_counter() - killed
        states = [second.wait(number, seconds=3600)["status"] for number in numbers]
        seconds = time.perf_counter() - began - down
        contents = {
            hashlib.sha256(second.ask(f"/jobs/{number}/results/fused.tif")[1]).hexdigest()
            for number in numbers
        }
        peaks.append(peak_megabytes(second.process.pid))
        second.kill()
        return {
            "jobs": jobs,
            "size": size,
            "successful": states.count("successful"),
            "different_results": len(contents),
            "done_before_kill": done,
            "seconds": seconds,
            "accept_p50": statistics.median(took for took, _ in taken),
            "accept_most": max(took for took, _ in taken),
            "down_seconds": down,
            "peak_megabytes": peaks,
        }


def timed(call):
    began = time.perf_counter()
    result = call()
    return time.perf_counter() - began, result


def finished(service: Service) -> int:
    return sum(job["status"] == "successful" for job in service.json("/jobs")["jobs"])


def text(path: Path) -> str:
    """The table of the docs."""
    head, (row,) = read(path)
    rows = {
        "jobs sent at once": row["jobs"],
        "successful, after a kill and a restart": row["successful"],
        "different results (one scene, so one)": row["different_results"],
        "done before the kill": row["done_before_kill"],
        "time to accept a job, median and most": f"{row['accept_p50'] * 1e3:.0f} ms, "
        f"{row['accept_most'] * 1e3:.0f} ms",
        "time for a job, start-ups left out": f"{row['seconds'] / row['jobs']:.1f} s",
        "from the kill until the new server listens": f"{row['down_seconds']:.0f} s",
        "most memory, before and after": " and ".join(
            f"{value:.0f} MB" for value in row["peak_megabytes"]
        ),
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    machine = (
        f"{head['processor']}, {head['cores']} cores, load {head['load_before']:.0f} of other "
        f"programs before; KSDiff {head['ksdiff']}, PyTorch {head['torch']}, {head['date'][:10]}."
    )
    scene = f"scenes of {row['size']} x {row['size']} PAN pixels, 4 bands"
    return "\n".join([f"| {scene} | |", "|---|---|", *lines, "", machine, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--size", type=int, default=SIZE)
    parser.add_argument("--out", type=Path, default=RESULTS / "serve.json")
    options = parser.parse_args()
    head = header("cpu")
    row = measure(options.jobs, options.size)
    options.out.write_text(json.dumps({"header": head, "rows": [row]}, indent=1) + "\n")
    print(text(options.out))
    if row["successful"] < row["jobs"] or row["different_results"] > 1:
        raise SystemExit("jobs were lost or differ")


if __name__ == "__main__":
    main()
