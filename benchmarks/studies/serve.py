"""Many jobs at once at `ksdiff serve`, which is killed in the middle.

Every result must be there in the end, and be the same bytes.
"""

import hashlib
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.markdown import Row, cores_and_load, noted, table
from benchmarks.measure import kilobytes, seconds_of
from benchmarks.results import Result
from ksdiff.errors import KSDiffError
from ksdiff.synthetic.simulate import draw_scenes
from tests.support.service import Service

_REQUEST = {"pan": "a_pan.tif", "ms": "a_ms.tif", "options": {"method": "ksdiff"}}


def measure(jobs: int = 50, size: int = 256) -> list[dict]:
    """Send JOBS jobs of SIZE x SIZE PAN pixels at once, and kill the server after a third."""
    with tempfile.TemporaryDirectory() as name:
        root, state = Path(name, "root"), Path(name, "state")
        draw_scenes(root, "a", size=size)
        first = Service("--root", root, "--state", state)
        numbers: list[str] = []

        def send(job: int) -> float:
            return seconds_of(lambda: numbers.append(first.post(**_REQUEST)))

        began = time.perf_counter()
        with ThreadPoolExecutor(jobs) as threads:
            accepted = list(threads.map(send, range(jobs)))
        done = 0
        while done < jobs // 3:
            time.sleep(0.1)
            done = [job["status"] for job in first.json("/jobs")["jobs"]].count("successful")
        peaks = [_peak_megabytes(first)]
        first.kill()
        killed = time.perf_counter()
        second = Service("--root", root, "--state", state)
        down = time.perf_counter() - killed
        states = [second.wait(number, seconds=3600)["status"] for number in numbers]
        seconds = time.perf_counter() - began - down
        files = (second.ask(f"/jobs/{number}/results/fused.tif")[1] for number in numbers)
        different = len({hashlib.sha256(content).hexdigest() for content in files})
        peaks.append(_peak_megabytes(second))
        second.kill()
    row = {
        "jobs": jobs,
        "size": size,
        "successful": states.count("successful"),
        "different_results": different,
        "done_before_kill": done,
        "seconds": seconds,
        "accept_p50": statistics.median(accepted),
        "accept_most": max(accepted),
        "down_seconds": down,
        "peak_megabytes": peaks,
    }
    if row["successful"] < jobs or different > 1:
        raise KSDiffError(f"jobs were lost or differ: {row}")
    return [row]


def _peak_megabytes(service: Service) -> float:
    """Of its process, resident, so far."""
    return kilobytes(Path(f"/proc/{service.process.pid}/status"), "VmHWM") / 1024


def text(found: Result) -> str:
    r = Row(**found.rows[0])
    before, after = (f"{peak:.0f} MB" for peak in r.peak_megabytes)
    accept = f"{r.accept_p50 * 1e3:.0f} ms, {r.accept_most * 1e3:.0f} ms"
    rows = [
        ("jobs sent at once", f"{r.jobs}"),
        ("successful, after a kill and a restart", f"{r.successful}"),
        ("different results (one scene, so one)", f"{r.different_results}"),
        ("done before the kill", f"{r.done_before_kill}"),
        ("time to accept a job, median and most", accept),
        ("time for a job, start-ups left out", f"{r.seconds / r.jobs:.1f} s"),
        ("from the kill until the new server listens", f"{r.down_seconds:.0f} s"),
        ("most memory, before and after", f"{before} and {after}"),
    ]
    head = [f"scenes of {r.size} x {r.size} PAN pixels, 4 bands", ""]
    return noted(table(head, rows), found, cores_and_load(found))
