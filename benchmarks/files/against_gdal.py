"""Times whole files beside GDAL's pansharpening: `python -m benchmarks.files.against_gdal`

One drawn scene through `ksdiff sharpen` and through gdal_pansharpen.py (weighted Brovey, cubic; of
Debian's python3-gdal, found on PATH), start-up and all, in turn, on the same cores. Both
write the same kind of file with the same options: once cloud-optimised with overviews, once plain.
The result is benchmarks/results/files.json; its table is printed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import typer

from benchmarks.files.drawing import Drawn, draw
from benchmarks.files.process import Run, run
from benchmarks.markdown import duration, origin, table
from benchmarks.measure import summary
from benchmarks.results import RESULTS, header, read, write
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


def main(
    size: int = 3328, bands: int = 8, rounds: int = 3, json: Path = RESULTS / "files.json"
) -> None:
    """Time whole files of SIZE x SIZE PAN pixels beside GDAL's pansharpening."""
    head = header("cpu") | {"gdal": gdal_version()}
    with tempfile.TemporaryDirectory() as name:
        rows = measure(Path(name), size, bands, rounds, head["cores"])
    write(json, head, rows)
    print(text(json))


def gdal_version() -> str:
    """Of the program on PATH.

    Raises:
        KSDiffError: there is none.
    """
    if shutil.which(GDAL) is None:
        raise KSDiffError(f"{GDAL}: not on PATH; install GDAL's programs (Debian: python3-gdal)")
    told = subprocess.run(["gdalinfo", "--version"], capture_output=True, text=True, check=True)
    return told.stdout.split(",")[0].removeprefix("GDAL ")


def measure(folder: Path, size: int, bands: int, rounds: int, cores: int) -> list[dict]:
    drawn = draw(folder, size, bands)
    ways = {
        (name, kind): make(drawn, folder / "out.tif", kind, cores)
        for kind in _KINDS
        for name, make in ((GDAL, _gdal), (OURS, _ours))
    }
    found: dict[tuple[str, str], list[Run]] = {way: [] for way in ways}
    for _ in range(rounds):
        for (name, kind), command in ways.items():
            # Neither sees the modules of this process, only what is installed for it.
            path = os.environ.get("PYTHONPATH", "") if name == OURS else ""
            done = run(command, PYTHONPATH=path)
            print(f"{name}, {kind}: {done.seconds:.1f} s", flush=True)
            (folder / "out.tif").unlink()
            found[name, kind].append(done)
    return [
        {
            **{"name": name, "kind": kind, "size": size, "bands": bands},
            **summary([done.seconds for done in runs]),
            "cpu_seconds": summary([done.cpu_seconds for done in runs])["p50"],
            "peak_bytes": max(done.peak_bytes for done in runs),
        }
        for (name, kind), runs in found.items()
    ]


def _ours(drawn: Drawn, out: Path, kind: str, cores: int) -> tuple[str | Path, ...]:
    plain = ("--no-cog",) if kind == "GTiff" else ()
    return (sys.executable, "-m", "ksdiff", "sharpen", *drawn, out, "--quiet", *plain)


def _gdal(drawn: Drawn, out: Path, kind: str, cores: int) -> tuple[str | Path, ...]:
    threads = str(cores)
    told = (part for option in _OPTIONS[kind] for part in ("-co", option))
    command = (GDAL, "-q", "-threads", threads, "-of", kind, *told, "-co", f"NUM_THREADS={threads}")
    return (*command, drawn.pan, drawn.ms, out)


def text(path: Path) -> str:
    found = read(path)
    times = {(row["name"], row["kind"]): row for row in found.rows}
    rows = []
    for (name, kind), row in times.items():
        gdal = times[GDAL, kind]
        rows.append(
            [
                _KINDS[kind],
                name,
                f"{duration(row['p50'])} ({duration(row['p20'])} – {duration(row['p80'])})",
                f"{row['p50'] / gdal['p50']:.1f}×",
                f"{duration(row['cpu_seconds'])}, {row['cpu_seconds'] / gdal['cpu_seconds']:.1f}×",
                f"{row['peak_bytes'] / 2**20:.0f} MiB",
            ]
        )
    first, head = found.rows[0], found.header
    names = ["file", "", "time (20–80 %)", "/ GDAL", "time of all cores", "most memory"]
    return (
        table(names, rows)
        + f"\n{first['size']:,} × {first['size']:,} PAN pixels, {first['bands']} bands, uint16. "
        + f"GDAL {head['gdal']}, load {head['load_before']} of other programs before. "
        + f"{origin(head)}\n"
    )


if __name__ == "__main__":
    typer.run(main)
