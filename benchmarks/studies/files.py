"""Whole files: `ksdiff sharpen` beside GDAL's pansharpening, and beside other work.

One drawn scene, start-up and all, every way in turn on the same cores. gdal_pansharpen.py (weighted
Brovey, cubic; of Debian's python3-gdal, found on PATH) writes the same kind of file with the same
options: once cloud-optimised with overviews, once plain.
"""

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.markdown import Row, duration, load, mebibytes, nested, row_table
from benchmarks.measure import Run, cores, run_command, summary
from benchmarks.results import Result
from benchmarks.studies.drawing import draw
from ksdiff.errors import KSDiffError
from ksdiff.io.formats import Format
from ksdiff.io.output_options import OutputOptions

OURS, GDAL = "ksdiff sharpen", "gdal_pansharpen.py"
_KINDS = {"COG": "cloud-optimised", "GTiff": "plain, tiled"}
_SHARPEN = (sys.executable, "-m", "ksdiff", "sharpen", "--quiet")
# How threads wait; the command sets the first by itself.
_POLICIES = {"PASSIVE": "sleep", "ACTIVE": "spin"}
# Ends by itself if this process is killed.
_LOOP = """
import os
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(1_000_000): pass
"""


class _Way(NamedTuple):
    """A command that takes PAN, MS and the file to write."""

    facts: dict[str, object]
    command: Sequence[str]
    environment: dict[str, str]
    loops: int = 0  # that run beside it


def gdal(size: int = 3328, bands: int = 8, rounds: int = 3) -> Iterator[dict]:
    """Time whole files of SIZE x SIZE PAN pixels beside GDAL's pansharpening."""
    version, path = gdal_version(), os.environ.get("PYTHONPATH", "")
    ways = []
    for kind in _KINDS:
        facts = {"kind": kind, "size": size, "bands": bands, "gdal": version}
        plain = () if kind == "COG" else ("--no-cog",)
        # GDAL's program does not see the modules of this process, only what is installed for it.
        ways += [
            _Way({"name": GDAL, **facts}, _gdal(kind, cores()), {"PYTHONPATH": ""}),
            _Way({"name": OURS, **facts}, (*_SHARPEN, *plain), {"PYTHONPATH": path}),
        ]
    return _in_turn(ways, size, bands, rounds)


def busy(size: int = 2048, rounds: int = 3) -> Iterator[dict]:
    """Time `ksdiff sharpen` of SIZE x SIZE PAN pixels beside endless loops on every second core."""
    ways = [
        _Way(
            {"loops": loops, "omp_wait_policy": policy, "bands": 4, "size": size},
            *(_SHARPEN, {"OMP_WAIT_POLICY": policy}, loops),
        )
        for loops, policy in itertools.product((0, max(1, cores() // 2)), _POLICIES)
    ]
    return _in_turn(ways, size, 4, rounds)


def _in_turn(ways: Sequence[_Way], size: int, bands: int, rounds: int) -> Iterator[dict]:
    found: list[list[Run]] = [[] for _ in ways]
    with tempfile.TemporaryDirectory() as name:
        drawn, out = draw(Path(name), size, bands), Path(name, "out.tif")
        for way, runs in rounds * list(zip(ways, found, strict=True)):
            with looping(way.loops):
                runs.append(run_command((*way.command, *drawn, out), **way.environment))
            print(f"{runs[-1].seconds:.1f} s: {way.facts}", flush=True)
            out.unlink()
    for way, runs in zip(ways, found, strict=True):
        yield {
            **way.facts,
            **summary([each.seconds for each in runs]),
            "cpu_seconds": summary([each.cpu_seconds for each in runs])["p50"],
            "peak_bytes": max(each.peak_bytes for each in runs),
        }


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


def gdal_version() -> str:
    """Of the program on PATH.

    Raises:
        KSDiffError: there is none.
    """
    if shutil.which(GDAL) is None:
        raise KSDiffError(f"{GDAL}: not on PATH; install GDAL's programs (Debian: python3-gdal)")
    done = subprocess.run(["gdalinfo", "--version"], capture_output=True, text=True, check=True)
    return done.stdout.split(",")[0].removeprefix("GDAL ")


def _gdal(kind: str, threads: int) -> tuple[str, ...]:
    """The command with what `ksdiff sharpen` tells GDAL by itself."""
    options = Format.of("out.tif", OutputOptions(cog=kind == "COG"), "uint16").options
    options |= {"NUM_THREADS": str(threads)}
    given = (part for option in options.items() for part in ("-co", "=".join(option)))
    return (GDAL, "-q", "-threads", str(threads), "-of", kind, *given)


def gdal_text(found: Result) -> str:
    rows = []
    for kind, own in nested(found.rows, "kind", "name").items():
        rows += [row | {"gdals": own[GDAL], "kind": _KINDS[kind]} for row in own.values()]
    head = "file |  | time (20–80 %) | / GDAL | time of all cores | most memory"

    def cells(r: Row) -> str:
        time = f"{duration(r.p50)} ({duration(r.p20)} – {duration(r.p80)})"
        over = f"{r.p50 / r.gdals['p50']:.1f}×"
        cpu = f"{duration(r.cpu_seconds)}, {r.cpu_seconds / r.gdals['cpu_seconds']:.1f}×"
        return f"{r.kind} | {r.name} | {time} | {over} | {cpu} | {mebibytes(r.peak_bytes)}"

    return row_table(found, head, cells, _note(found, f"uint16. GDAL {rows[0]['gdal']}"), rows)


def busy_text(found: Result) -> str:
    head = "cores taken by other work | threads that wait | time | 20–80 %"

    def cells(r: Row) -> str:
        threads = f"{_POLICIES[r.omp_wait_policy]} ({r.omp_wait_policy})"
        spread = f"{duration(r.p20)} – {duration(r.p80)}"
        return f"{r.loops} of {r.cores} | {threads} | {duration(r.p50)} | {spread}"

    return row_table(found, head, cells, _note(found, "start-up and all"))


def _note(found: Result, more: str) -> str:
    size, bands = (found.rows[0][name] for name in ("size", "bands"))
    return f"{size:,} × {size:,} PAN pixels, {bands} bands, {more}. {load(found)}"
