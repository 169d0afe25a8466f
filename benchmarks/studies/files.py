"""Whole files beside GDAL's pansharpening.

One drawn scene through `ksdiff sharpen` and through gdal_pansharpen.py (weighted Brovey, cubic; of
Debian's python3-gdal, found on PATH), start-up and all, in turn, on the same cores. Both write the
same kind of file with the same options: once cloud-optimised with overviews, once plain.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.markdown import duration, listing, load, mebibytes, noted, spread
from benchmarks.measure import cores, summary
from benchmarks.process import Run, run
from benchmarks.results import Result
from benchmarks.studies.drawing import draw
from ksdiff.errors import KSDiffError

OURS, GDAL = "ksdiff sharpen", "gdal_pansharpen.py"
_KINDS = {"COG": "cloud-optimised", "GTiff": "plain, tiled"}
# What `ksdiff sharpen` tells GDAL by itself, see `ksdiff.io.formats`.
_OPTIONS = {
    "COG": ("COMPRESS=DEFLATE", "LEVEL=1", "PREDICTOR=YES", "BLOCKSIZE=512"),
    "GTiff": (
        *("COMPRESS=DEFLATE", "ZLEVEL=1", "PREDICTOR=2"),
        *("TILED=YES", "BLOCKXSIZE=512", "BLOCKYSIZE=512"),
    ),
}


def measure(size: int = 3328, bands: int = 8, rounds: int = 3) -> Iterator[dict]:
    """Time whole files of SIZE x SIZE PAN pixels beside GDAL's pansharpening."""
    version = gdal_version()
    with tempfile.TemporaryDirectory() as name:
        drawn, out = draw(Path(name), size, bands), Path(name, "out.tif")
        commands = {}
        for kind in _KINDS:
            commands[GDAL, kind] = (*_gdal(kind, cores()), *drawn, out)
            commands[OURS, kind] = (*_ours(kind), *drawn, out)
        found: dict[tuple[str, str], list[Run]] = {way: [] for way in commands}
        for _ in range(rounds):
            for (name, kind), command in commands.items():
                # Neither sees the modules of this process, only what is installed for it.
                path = os.environ.get("PYTHONPATH", "") if name == OURS else ""
                done = run(command, PYTHONPATH=path)
                print(f"{name}, {kind}: {done.seconds:.1f} s", flush=True)
                out.unlink()
                found[name, kind].append(done)
    for (name, kind), runs in found.items():
        yield {
            **{"name": name, "kind": kind, "size": size, "bands": bands, "gdal": version},
            **summary([done.seconds for done in runs]),
            "cpu_seconds": summary([done.cpu_seconds for done in runs])["p50"],
            "peak_bytes": max(done.peak_bytes for done in runs),
        }


def gdal_version() -> str:
    """Of the program on PATH.

    Raises:
        KSDiffError: there is none.
    """
    if shutil.which(GDAL) is None:
        raise KSDiffError(f"{GDAL}: not on PATH; install GDAL's programs (Debian: python3-gdal)")
    told = subprocess.run(["gdalinfo", "--version"], capture_output=True, text=True, check=True)
    return told.stdout.split(",")[0].removeprefix("GDAL ")


def _ours(kind: str) -> tuple[str, ...]:
    plain = ("--no-cog",) if kind == "GTiff" else ()
    return (sys.executable, "-m", "ksdiff", "sharpen", "--quiet", *plain)


def _gdal(kind: str, threads: int) -> tuple[str, ...]:
    options = (*_OPTIONS[kind], f"NUM_THREADS={threads}")
    told = (part for option in options for part in ("-co", option))
    return (GDAL, "-q", "-threads", str(threads), "-of", kind, *told)


def text(found: Result) -> str:
    gdal = {row["kind"]: row for row in found.rows if row["name"] == GDAL}

    def over(row: dict, fact: str) -> str:
        return f"{row[fact] / gdal[row['kind']][fact]:.1f}×"

    columns = {
        "file": lambda row: _KINDS[row["kind"]],
        "": "{name}",
        "time (20–80 %)": lambda row: f"{duration(row['p50'])} ({spread(row)})",
        "/ GDAL": lambda row: over(row, "p50"),
        "time of all cores": lambda row: (
            f"{duration(row['cpu_seconds'])}, {over(row, 'cpu_seconds')}"
        ),
        "most memory": lambda row: mebibytes(row["peak_bytes"]),
    }
    note = "{size:,} × {size:,} PAN pixels, {bands} bands, uint16. GDAL {gdal}. "
    note = note.format_map(found.rows[0]) + load(found.header)
    return noted(listing(found.rows, columns), found, note)
