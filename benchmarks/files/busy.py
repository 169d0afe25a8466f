"""Times `ksdiff sharpen` beside other work: `python -m benchmarks.files.busy`

One drawn scene, with all cores and beside an endless loop on every second one; with threads that
sleep while they wait (OMP_WAIT_POLICY=PASSIVE, which the command sets) and threads that spin
(ACTIVE), in turn. The result is benchmarks/results/busy.json; its table is printed.
"""

import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from benchmarks.files.drawing import Drawn, draw
from benchmarks.files.process import run
from benchmarks.markdown import duration, origin, table
from benchmarks.measure import summary
from benchmarks.results import RESULTS, header, read, write

_BANDS = 4
_POLICIES = {"PASSIVE": "sleep", "ACTIVE": "spin"}
# Ends by itself if this process is killed.
_LOOP = """
import os
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(1_000_000): pass
"""


def main(size: int = 2048, rounds: int = 3, json: Path = RESULTS / "busy.json") -> None:
    """Time `ksdiff sharpen` of SIZE x SIZE PAN pixels beside other work."""
    head = header("cpu")
    head.pop("omp_wait_policy")  # it is a fact of every row
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = measure(draw(folder, size, _BANDS), folder / "fused.tif", rounds, head["cores"])
    write(json, head, [row | {"size": size} for row in rows])
    print(text(json))


def measure(drawn: Drawn, out: Path, rounds: int, cores: int) -> list[dict]:
    command = (sys.executable, "-m", "ksdiff", "sharpen", *drawn, out, "--quiet", "--overwrite")
    ways = list(itertools.product((0, max(1, cores // 2)), _POLICIES))
    found: dict[tuple[int, str], list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for loops, policy in ways:
            with looping(loops):
                done = run(command, OMP_WAIT_POLICY=policy)
            print(f"{loops} loops, {policy}: {done.seconds:.1f} s", flush=True)
            found[loops, policy].append(done.seconds)
    return [
        {"loops": loops, "omp_wait_policy": policy, "bands": _BANDS, **summary(times)}
        for (loops, policy), times in found.items()
    ]


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


def text(path: Path) -> str:
    head, rows = read(path)
    lines = [
        [
            f"{row['loops']} of {head['cores']}",
            f"{_POLICIES[row['omp_wait_policy']]} ({row['omp_wait_policy']})",
            duration(row["p50"]),
            f"{duration(row['p20'])} – {duration(row['p80'])}",
        ]
        for row in rows
    ]
    size = rows[0]["size"]
    note = (
        f"\n{size:,} × {size:,} PAN pixels, {rows[0]['bands']} bands, start-up and all. "
        f"Load {head['load_before']} of other programs before. {origin(head)}\n"
    )
    return (
        table(["cores taken by other work", "threads that wait", "time", "20–80 %"], lines) + note
    )


if __name__ == "__main__":
    os.environ.pop("OMP_WAIT_POLICY", None)
    typer.run(main)
