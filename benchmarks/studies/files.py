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
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from benchmarks.markdown import listing, load, nested, noted
from benchmarks.measure import cores, summary
from benchmarks.process import run
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
        found = defaultdict(list)
        for (name, kind), command in rounds * [*commands.items()]:
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
    rows = []
    for kind, own in nested(found.rows, "kind", "name").items():
        for row in own.values():
            over = {f"{fact}_over": row[fact] / own[GDAL][fact] for fact in ("p50", "cpu_seconds")}
            rows.append(row | over | {"kind": _KINDS[kind]})
    columns = {
        "file": "{kind}",
        "": "{name}",
        "time (20–80 %)": "{p50:time} ({p20:time} – {p80:time})",
        "/ GDAL": "{p50_over:.1f}×",
        "time of all cores": "{cpu_seconds:time}, {cpu_seconds_over:.1f}×",
        "most memory": "{peak_bytes:MiB}",
    }
    note = "{size:,} × {size:,} PAN pixels, {bands} bands, uint16. GDAL {gdal}. "
    note = note.format_map(found.rows[0]) + load(found.header)
    return noted(listing(rows, columns), found, note)
