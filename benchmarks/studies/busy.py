"""`ksdiff sharpen` beside other work.

One drawn scene, with all cores and beside an endless loop on every second one; with threads that
sleep while they wait (OMP_WAIT_POLICY=PASSIVE, which the command sets) and threads that spin
(ACTIVE), in turn.
"""

import itertools
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.markdown import listing, load, noted
from benchmarks.measure import cores, summary
from benchmarks.process import run
from benchmarks.results import Result
from benchmarks.studies.drawing import draw

_BANDS = 4
_POLICIES = {"PASSIVE": "sleep", "ACTIVE": "spin"}
# Ends by itself if this process is killed.
_LOOP = """
import os
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(1_000_000): pass
"""


def measure(size: int = 2048, rounds: int = 3) -> Iterator[dict]:
    """Time `ksdiff sharpen` of SIZE x SIZE PAN pixels beside other work."""
    ways = list(itertools.product((0, max(1, cores() // 2)), _POLICIES))
    found = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        files = (*draw(Path(name), size, _BANDS), Path(name, "fused.tif"))
        command = (sys.executable, "-m", "ksdiff", "sharpen", *files, "--quiet", "--overwrite")
        for loops, policy in rounds * ways:
            with looping(loops):
                done = run(command, OMP_WAIT_POLICY=policy)
            print(f"{loops} loops, {policy}: {done.seconds:.1f} s", flush=True)
            found[loops, policy].append(done.seconds)
    for (loops, policy), times in found.items():
        facts = {"loops": loops, "omp_wait_policy": policy, "bands": _BANDS, "size": size}
        yield facts | summary(times)


@contextmanager
def looping(count: int) -> Iterator[list[subprocess.Popen]]:
    """Beside so many endless loops."""
    loops = [subprocess.Popen([sys.executable, "-c", _LOOP]) for _ in range(count)]
    try:
        yield loops
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def text(found: Result) -> str:
    facts = {"cores": found.header["cores"]}
    rows = [row | facts | {"wait": _POLICIES[row["omp_wait_policy"]]} for row in found.rows]
    columns = {
        "cores taken by other work": "{loops} of {cores}",
        "threads that wait": "{wait} ({omp_wait_policy})",
        "time": "{p50:time}",
        "20–80 %": "{p20:time} – {p80:time}",
    }
    note = "{size:,} × {size:,} PAN pixels, {bands} bands, start-up and all. "
    note = note.format_map(found.rows[0]) + load(found.header)
    return noted(listing(rows, columns), found, note)
