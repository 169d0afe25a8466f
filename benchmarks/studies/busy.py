"""Times sharpening beside other work: `python -m benchmarks.studies.busy`

One drawn scene through `ksdiff.Sharpener`, on an idle machine and beside an endless loop on every
second core; with OMP_WAIT_POLICY unset (waiting threads spin) and PASSIVE (they sleep). Each
setting is a process of its own. The result is benchmarks/results/busy.json; its table is printed.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.markdown import duration, origin, table
from benchmarks.measure import seconds_of, summary
from benchmarks.results import RESULTS, header, read, write

_BANDS = 4
_ROUNDS = 3
_VARIABLE = "OMP_WAIT_POLICY"
# Ends by itself if this process is killed.
_LOOP = """
import os
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(1_000_000): pass
"""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=1024, help="PAN pixels a side")
    parser.add_argument("--json", type=Path, default=RESULTS / "busy.json")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child:
        print(json.dumps(summary(_times(given.size))))
        return
    head, rows = header("cpu"), []
    head.pop("omp_wait_policy")  # it is a fact of every row
    for loops in (0, max(1, head["cores"] // 2)):
        for policy in ("unset", "PASSIVE"):
            with _loops(loops):
                found = _in_process(policy, given.size)
            rows.append({"loops": loops, "omp_wait_policy": policy, "size": given.size, **found})
    write(given.json, head, rows)
    print(text(given.json))


@contextmanager
def _loops(count: int) -> Iterator[list[subprocess.Popen]]:
    loops = [subprocess.Popen([sys.executable, "-c", _LOOP]) for _ in range(count)]
    try:
        yield loops
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def _in_process(policy: str, size: int) -> dict[str, float]:
    environment = {name: value for name, value in os.environ.items() if name != _VARIABLE}
    if policy != "unset":
        environment[_VARIABLE] = policy
    child = [sys.executable, "-m", "benchmarks.studies.busy", "--child", f"--size={size}"]
    done = subprocess.run(child, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _times(size: int) -> list[float]:
    from ksdiff.inference.sharpen import Sharpener
    from ksdiff.runtime import keep_freed_memory
    from ksdiff.synthetic.scene import procedural_scene

    keep_freed_memory()
    pan, ms, _ = procedural_scene(seed=0, size=size, bands=_BANDS)
    sharpener = Sharpener()
    times = [seconds_of(lambda: sharpener.sharpen(pan, ms)) for _ in range(1 + _ROUNDS)]
    return times[1:]


def text(path: Path) -> str:
    found = read(path)
    rows = [
        [
            f"{row['loops']} of {found.header['cores']}",
            row["omp_wait_policy"],
            duration(row["p50"]),
            f"{duration(row['p20'])} – {duration(row['p80'])}",
        ]
        for row in found.rows
    ]
    head = ["cores taken by other work", _VARIABLE, "time", "20–80 %"]
    size = found.rows[0]["size"]
    note = f"\n{size} × {size} PAN pixels, {_BANDS} bands. {origin(found.header)}\n"
    return table(head, rows) + note


if __name__ == "__main__":
    main()
