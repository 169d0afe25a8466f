"""Fuse scenes; fine-tune weights on one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from ksdiff.cli.options import Overwrite, Progress, Quiet, Weights, shown, takes
from ksdiff.errors import KSDiffError
from ksdiff.inference.options import SharpenOptions
from ksdiff.inference.progress import progress_bars, tell_line
from ksdiff.io.input_options import InputOptions
from ksdiff.io.output_options import OutputOptions
from ksdiff.io.outputs import check_output
from ksdiff.io.products import ProductImage, read_product
from ksdiff.runtime import return_large_blocks

if TYPE_CHECKING:
    from ksdiff.inference.sharpen import Fused
    from ksdiff.models.ksdiff import KSDiff
    from ksdiff.training.adapt import Adapted

Given = str | list[str] | ProductImage
Files = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PRODUCT OUT | PAN MS OUT",
        help="A scene as its provider delivers it (folder, archive, metadata file or address) "
        "and the file to write; or the three files of --pan, --ms and --out.",
    ),
]
Pan = Annotated[
    list[str] | None,
    typer.Option(help="Panchromatic raster, any name GDAL opens. Can be repeated for tiles."),
]
Ms = Annotated[
    list[str] | None,
    typer.Option(
        help="Multispectral raster of the same area. Can be repeated for bands, in this order, "
        "or for tiles."
    ),
]
_MINUTES = 5.0  # of --adapt
_TOLD_BLUR = 0.25  # a measured MTF that is off the sensor's by more is worth a line


@takes(SharpenOptions, panel="Fusion options")
@takes(OutputOptions, into="output", panel="Output options")
@takes(InputOptions, into="reading", panel="Input options")
def sharpen(
    options: SharpenOptions,
    reading: InputOptions,
    output: OutputOptions,
    files: Files = None,
    pan: Pan = None,
    ms: Ms = None,
    out: Annotated[
        str | None,
        typer.Option(help="Raster to write; the ending chooses the format (.tif, .jp2, .png...)."),
    ] = None,
    rgb: Annotated[
        Path | None,
        typer.Option(help="True-colour picture in 8 bits to write as well, .tif or .png."),
    ] = None,
    preview: Annotated[
        Path | None,
        typer.Option(help="PNG to write as well: MS, PAN, the result and how PAN was moved."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="HTML page to write as well: pictures, spectra, indexes, decisions."),
    ] = None,
    weights: Weights = None,
    adapt: Annotated[
        bool,
        typer.Option(
            "--adapt", help="Fine-tune the weights on the scene first, for at most 5 minutes."
        ),
    ] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    progress: Progress = "bar",
) -> None:
    """Fuse a product, or a PAN and an MS raster, into a sharp MS raster, by default a GeoTIFF."""
    given_pan, given_ms, out = _named(files, pan, ms, out)
    if adapt and options.method != "ksdiff":
        raise KSDiffError(
            f"adapt: fine-tunes weights, and the method {options.method} has none; "
            "leave --adapt out"
        )
    check_output(out, overwrite)  # before PyTorch is loaded, and before minutes go by
    return_large_blocks()
    model: str | KSDiff | None = weights
    if adapt:
        model = _adapt(
            given_pan, given_ms, weights, _MINUTES, options, quiet, progress, reading
        ).model
    with progress_bars(shown(progress, quiet)) as stage:
        started = stage("Starting", 1)
        from ksdiff.inference.sharpen import Sharpener

        sharpener = Sharpener(model, options)
        started()
        done = sharpener.sharpen_files(
            *(given_pan, given_ms, out),
            reading=reading,
            output=output,
            rgb=rgb,
            preview=preview,
            report=report,
            overwrite=overwrite,
            progress=stage,
        )
    if quiet:
        return
    _tell(done, "adapted weights" if adapt else done.weights, options.together)
    for kind, paths in (("picture", (rgb, preview)), ("report", (report,))):
        for path in paths:
            if path is not None:
                print(f"{path}: {kind}")


def _tell(done: Fused, weights: str, together: bool) -> None:
    """What was made and found, in lines."""
    for note in done.notes:
        print(note)
    print(
        f"{done.path}: {done.bands} bands of {done.height} x {done.width}, {done.dtype}, "
        f"with {weights} in {done.seconds:.1f} s"
    )
    if done.registration.told:
        print(done.registration.told)
    if done.apart:
        how = "registered and left so" if together else "each got PAN's detail in its own position"
        print(f"bands lay up to {done.apart:.2f} PAN pixels apart: {how}")
    if abs(done.blur - 1) > _TOLD_BLUR:
        print(
            f"MTF of the MS at Nyquist: {done.blur:.2f} times the sensor's; the measured one "
            "was used"
        )


def _named(
    files: list[str] | None, pan: list[str] | None, ms: list[str] | None, out: str | None
) -> tuple[Given, Given, str]:
    """PAN, MS and OUT, from arguments or options; a product stands for the first two."""
    files = files or []
    given = [name for name, value in (("--pan", pan), ("--ms", ms), ("--out", out)) if value]
    if not files and pan and ms and out:
        return pan, ms, out
    if len(files) == 3 and not given:
        return files[0], files[1], files[2]
    if (len(files) == 2 and not given) or (len(files) == 1 and given == ["--out"]):
        product = read_product(files[0])
        return product.pan, product.ms, out or files[1]
    got = " ".join((*files, *given)) or "nothing"
    raise KSDiffError(
        "expected PRODUCT OUT, PAN MS OUT, or all of --pan, --ms and --out; got " + got
    )


@takes(SharpenOptions, "sensor", "registration", "pan_gain", "device", "seed")
@takes(InputOptions, into="reading")
def adapt(
    options: SharpenOptions,
    reading: InputOptions,
    files: Files = None,
    pan: Pan = None,
    ms: Ms = None,
    out: Annotated[str | None, typer.Option(help="Weights file (.safetensors) to write.")] = None,
    weights: Weights = None,
    minutes: Annotated[float, typer.Option(help="Time limit in minutes.")] = 5.0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    progress: Progress = "bar",
) -> None:
    """Fine-tune weights on one scene, for a sensor that they were not trained on."""
    given_pan, given_ms, out = _named(files, pan, ms, out)
    check_output(out, overwrite)
    _adapt(given_pan, given_ms, weights, minutes, options, quiet, progress, reading).save(out)


def _adapt(
    pan: Given,
    ms: Given,
    weights: str | None,
    minutes: float,
    options: SharpenOptions,
    quiet: bool,
    progress: str,
    reading: InputOptions,
) -> Adapted:
    from ksdiff.runtime import device_named
    from ksdiff.training.adapt import adapt as adapt_weights

    lines = progress == "json"
    with Bar(
        *(TextColumn("Adapting  "), BarColumn()),
        *(TextColumn("error {task.fields[error]}"), TimeRemainingColumn()),
        console=Console(stderr=True),
        disable=quiet or lines,
    ) as bar:
        task = bar.add_task("", total=1.0, error="not known yet")

        def step(share: float, error: float) -> None:
            bar.update(task, completed=share, error=f"{error:.4f}")
            if lines and not quiet:
                tell_line("Adapting", round(100 * share), 100)

        done = adapt_weights(
            *(pan, ms),
            reading=reading,
            weights=weights,
            sensor=options.sensor,
            registration=options.registration,
            pan_gain=options.pan_gain,
            minutes=minutes,
            device=device_named(options.device).type,
            seed=options.seed,
            step=step,
        )
    if not quiet:
        gain = 100 * (1 - done.after.product / done.before.product)
        verdict = "adapted" if done.kept else "no gain: the weights stay as they were"
        print(
            f"{verdict}; one scale lower {100 * done.before.detail:.1f} % of the detail is missed "
            f"before and {100 * done.after.detail:.1f} % after, SAM {done.before.angle:.3f} before "
            f"and {done.after.angle:.3f} after ({gain:.1f} % less), {done.steps} steps in "
            f"{done.seconds:.0f} s"
        )
    return done
