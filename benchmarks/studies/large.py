"""A large scene through `ksdiff sharpen`.

It is drawn strip by strip, sharpened, compared in places with windows fused alone whose borders lie
elsewhere, and sharpened again by a command that is ended on its way. A hidden folder in the current
one holds the files meanwhile, some 20 bytes a PAN pixel.
"""

import signal
import sys
import tempfile
from pathlib import Path

import numpy as np
import rasterio
import torch

from benchmarks.markdown import Row, load, mebibytes, noted, table
from benchmarks.measure import run_command
from benchmarks.results import Result
from benchmarks.studies.drawing import draw
from ksdiff.errors import KSDiffError
from ksdiff.inference.sharpen import Sharpener
from ksdiff.inference.tiles import Span
from ksdiff.inference.windows import begin_window, read_window, window_spans
from ksdiff.io.rasters import open_pair

_PLACES = 6  # that are fused alone: corners of four windows, spread over the scene
_SIDE, _MARGIN = 512, 64  # PAN pixels of such a place, and around it
_NEAR = 48  # PAN pixels from the middle of where windows blend
_END_AT, _EARLY = 0.5, 0.05  # shares that are written when the command is ended
_CLOSE = 1.0  # DN: how far neighbours that blend may be off a window fused alone


def measure(size: int = 30_000, bands: int = 4) -> list[dict]:
    """Sharpen a scene of SIZE x SIZE PAN pixels, and end the command on its way."""
    with tempfile.TemporaryDirectory(prefix=".large", dir=".") as name:
        drawn = draw(Path(name), size, bands)
        out, log = Path(name, "fused.tif"), Path(name, "log")
        command = (sys.executable, "-m", "ksdiff", "sharpen", *drawn, out, "--progress", "json")
        done = run_command(command, log)
        print(f"sharpened in {done.seconds:.0f} s, {mebibytes(done.peak_bytes)}", flush=True)
        row = {
            **{"size": size, "bands": bands, "p50": done.seconds, "cpu_seconds": done.cpu_seconds},
            **{"peak_bytes": done.peak_bytes, "bytes": out.stat().st_size},
            **compared(drawn, out),
            "end_at": _END_AT,
        }
        print(f"compared: {row}", flush=True)
        out.unlink()
        row["left"] = left(command, log, out, size**2 * bands * 2)
    if row["left"] or row["differs_most"] > row["differs_bound"]:
        raise KSDiffError(f"files were left, or windows show: {row}")
    return [row]


def left(command: tuple, log: Path, out: Path, complete: int) -> list[str]:
    """Names of files that the command leaves when it is ended before it has written all bytes."""
    before, found = set(out.parent.iterdir()), []
    # One that a program can answer, and one that it cannot: it may leave a hidden file.
    for ending, share in ((signal.SIGTERM, _END_AT), (signal.SIGKILL, _EARLY)):

        def enough(process: int, size: float = share * complete) -> bool:
            hidden = out.with_name(f".{out.name}.{process}.part.plain.tif")  # written first
            return hidden.exists() and hidden.stat().st_size > size

        if run_command(command, log, enough, ending).status == 0:
            raise KSDiffError(f"{out.name}: was complete before {ending.name} came")
        new = set(out.parent.iterdir()) - before
        found += [path.name for path in new if ending == signal.SIGTERM or path == out]
        for path in new:
            path.unlink()
    return found


@torch.inference_mode()
def compared(drawn: tuple[Path, Path], out: Path) -> dict[str, float]:
    """How far the fused file is off windows that are fused alone, in DN: near where its own windows
    blend, and elsewhere, where the two differ by rounding."""
    sharpener = Sharpener()
    off, blended = [], []
    with open_pair(*drawn) as pair, rasterio.open(out) as file:
        scene = sharpener.prepare(pair)
        fuse = sharpener.fuser(scene)
        spans = [window_spans(length, sharpener.options.tile, pair.ratio) for length in pair.shape]
        borders = [[(s.start + s.ramp_up // 2) for s in axis if s.ramp_up] for axis in spans]
        for share in np.linspace(0, 1, _PLACES):
            at = [axis[round(share * (len(axis) - 1))] for axis in borders]
            row, column = map(_alone, at, pair.shape)
            patch = read_window(scene.pair, row, column)
            alone = begin_window(scene, fuse, patch, row, column).fused().numpy()
            ours = file.read(window=((row.start, row.stop), (column.start, column.stop)))
            limits = np.iinfo(ours.dtype)
            off.append(np.abs(ours - np.clip(alone, limits.min, limits.max)))
            rows, columns = (
                np.abs(np.arange(span.start, span.stop) - middle) <= _NEAR
                for span, middle in zip((row, column), at, strict=True)
            )
            blended.append(np.broadcast_to(rows[:, None] | columns, ours.shape))
    differs, near = np.stack(off), np.stack(blended)
    return {
        "places": _PLACES,
        "differs_near": float(differs[near].mean()),
        "differs_elsewhere": float(differs[~near].mean()),
        "differs_most": float(np.quantile(differs[near], 0.999)),
        "differs_bound": _CLOSE,
    }


def _alone(middle: int, length: int) -> Span:
    """A window around the middle, as far as the scene reaches; all are multiples of 8."""
    start = min(max(middle - _SIDE // 2, 0) // 8 * 8, length - _SIDE)
    stop = start + _SIDE
    read_start, read_stop = max(start - _MARGIN, 0), min(stop + _MARGIN, length)
    return Span(start, stop, stop, read_start, read_stop, read_stop, 0, 0)


def text(found: Result) -> str:
    r = Row(**found.rows[0])
    seconds, cpu, megapixels = r.p50, r.cpu_seconds, r.size**2 / 1e6
    head = [f"{r.size:,} × {r.size:,} PAN pixels, {r.bands} bands, uint16", ""]
    each = f"{seconds / megapixels:.2f} s, {cpu / megapixels:.2f} s of one core"
    differs = f"{r.differs_near:.3f} DN and {r.differs_elsewhere:.3f} DN; rounding is 0.25"
    most = f"{r.differs_most:.2f} DN"
    rows = [
        ("time", f"{seconds / 60:.0f} min, {cpu / 60:.0f} min of one core"),
        ("the same for a megapixel", each),
        ("most memory", mebibytes(r.peak_bytes)),
        ("the fused file, with overviews", f"{r.bytes / 2**30:.1f} GiB"),
        ("mean difference to windows fused alone, where windows blend and elsewhere", differs),
        ("99.9 % of the pixels where windows blend differ by less than", most),
        ("files left by commands that were ended on their way", ", ".join(r.left) or "none"),
    ]
    return noted(table(head, rows), found, load(found))
