"""Fuse scenes; fine-tune weights on one."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ksdiff.cli.options import (
    Contrast,
    ContrastOption,
    Device,
    DeviceOption,
    Overwrite,
    Precision,
    Quiet,
    Register,
    Seed,
    Sensor,
    Weights,
)

_MINUTES = 5.0  # of --adapt
_TOLD_BLUR = 0.25  # a measured MTF that is off the sensor's by more is worth a line


def sharpen(
    pan: Annotated[Path, typer.Option(help="Panchromatic raster.")],
    ms: Annotated[Path, typer.Option(help="Multispectral raster of the same place.")],
    out: Annotated[Path, typer.Option(help="GeoTIFF to write.")],
    preview: Annotated[
        Path | None, typer.Option(help="PNG to write: MS, PAN and fused side by side.")
    ] = None,
    weights: Weights = None,
    sensor: Sensor = None,
    device: DeviceOption = Device.auto,
    seed: Seed = 0,
    tile: Annotated[int, typer.Option(help="Window side in PAN pixels; a multiple of 256.")] = 512,
    register: Register = True,
    together: Annotated[
        bool,
        typer.Option(
            "--together",
            help="Leave bands that lay apart on each other, not where the MS has them.",
        ),
    ] = False,
    contrast: ContrastOption = Contrast.slope,
    precision: Annotated[
        Precision, typer.Option(help="Of the network; bfloat16 is faster where there are units.")
    ] = Precision.float32,
    adapt: Annotated[
        bool, typer.Option("--adapt", help="Fine-tune the weights on the scene first, 5 minutes.")
    ] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Fuse a PAN and an MS raster into a sharp MS GeoTIFF."""
    from ksdiff.inference.sharpen import Sharpener
    from ksdiff.io.outputs import check_output

    with contextlib.ExitStack() as stack:
        if adapt:
            check_output(out, overwrite)  # before minutes go by
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            tuned = str(Path(folder) / "adapted.safetensors")
            _adapt(pan, ms, tuned, weights, sensor, _MINUTES, device, seed, False, quiet)
            weights = tuned
        sharpener = Sharpener(
            weights,
            sensor=sensor,
            device=device.value,
            seed=seed,
            tile=tile,
            register=register,
            precision=precision.value,
            together=together,
            contrast=contrast.value,
        )
        done = sharpener.sharpen_files(
            pan, ms, out, preview=preview, overwrite=overwrite, progress=not quiet
        )
    if not quiet:
        print(
            f"{done.path}: {done.bands} bands of {done.height} x {done.width}, {done.dtype}, "
            f"with {'adapted weights' if adapt else done.weights} in {done.seconds:.1f} s"
        )
        if any(done.shift):
            print(
                "PAN was off the MS by {:.2f} rows, {:.2f} columns: put right".format(*done.shift)
            )
        if done.apart:
            print(
                f"bands lay up to {done.apart:.2f} PAN pixels apart: "
                + ("put on each other" if together else "each has PAN's detail in its own place")
            )
        if abs(done.blur - 1) > _TOLD_BLUR:
            print(
                f"MTF of the MS at Nyquist: {done.blur:.2f} times the sensor's, taken as measured"
            )
        if preview is not None:
            print(f"{preview}: picture")


def adapt(
    pan: Annotated[Path, typer.Option(help="Panchromatic raster.")],
    ms: Annotated[Path, typer.Option(help="Multispectral raster of the same place.")],
    out: Annotated[Path, typer.Option(help="Weights file (.safetensors) to write.")],
    weights: Weights = None,
    sensor: Sensor = None,
    minutes: Annotated[float, typer.Option(help="The most to spend.")] = 5.0,
    device: DeviceOption = Device.auto,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Fine-tune weights on one scene, for a sensor that they have not seen."""
    _adapt(pan, ms, out, weights, sensor, minutes, device, seed, overwrite, quiet)


def _adapt(pan, ms, out, weights, sensor, minutes, device, seed, overwrite, quiet) -> None:
    from ksdiff.inference.sharpen import device_named
    from ksdiff.training.adapt import adapt as adapt_weights

    with Progress(
        *(TextColumn("Adapting  "), BarColumn()),
        *(TextColumn("error {task.fields[error]}"), TimeRemainingColumn()),
        console=Console(stderr=True),
        disable=quiet,
    ) as bar:
        task = bar.add_task("", total=1.0, error="not known yet")
        done = adapt_weights(
            *(pan, ms, out),
            weights=weights,
            sensor=sensor,
            minutes=minutes,
            device=device_named(device.value).type,
            seed=seed,
            overwrite=overwrite,
            step=lambda share, error: bar.update(task, completed=share, error=f"{error:.4f}"),
        )
    if not quiet:
        gain = 100 * (1 - done.after / done.before)
        verdict = "adapted" if done.kept else "no gain: the weights stay as they were"
        print(
            f"{verdict}; error when tried one scale lower {done.before:.4f} before, "
            f"{done.after:.4f} after ({gain:.1f} % less), {done.steps} steps in "
            f"{done.seconds:.0f} s"
        )
