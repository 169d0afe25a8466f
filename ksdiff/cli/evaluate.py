"""Evaluation, synthetic scenes, profiling and system information."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.console import Console
from rich.markup import escape

from ksdiff.cli.options import Overwrite, Progress, Weights, takes
from ksdiff.errors import KSDiffError
from ksdiff.inference.options import Method, SharpenOptions
from ksdiff.inference.progress import tell_line


@takes(SharpenOptions, "sensor", "registration", "contrast", "pan_gain", "device", "seed")
def evaluate(
    data: Annotated[
        Path,
        typer.Option(
            help="Folder of NAME_pan.tif, NAME_ms.tif and, optionally, NAME_gt.tif; or a "
            "PanCollection .h5 file."
        ),
    ],
    options: SharpenOptions,
    methods: Annotated[
        str | None,
        typer.Option(help=f"Comma-separated: {', '.join(get_args(Method))}; all by default."),
    ] = None,
    out: Annotated[
        list[Path] | None,
        typer.Option(
            "--out", "--json", help="File to write: .json, .csv, .tex or .md. Can be repeated."
        ),
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(help="Folder for one PNG per scene: results, an enlarged part, errors."),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            help="Bundled name or .safetensors file; by default chosen by the scene's bands. Can "
            "be repeated; each becomes a method."
        ),
    ] = None,
    border: Annotated[
        int,
        typer.Option(help="Pixels cut from every side before computing indexes with ground truth."),
    ] = 21,
    measured: Annotated[
        bool,
        typer.Option(
            "--measured",
            help="Give the registered images and the measured MTF to classical methods as well.",
        ),
    ] = False,
    overwrite: Overwrite = False,
    progress: Progress = "bar",
) -> None:
    """Compute quality indexes of methods on scenes and print Markdown tables."""
    from ksdiff.evaluation import DEFAULT_METHODS
    from ksdiff.evaluation import evaluate as evaluate_scenes
    from ksdiff.evaluation.report import output_kind
    from ksdiff.io.outputs import check_output

    for path in out or ():
        output_kind(path)
        check_output(path, overwrite)
    with Console(stderr=True).status("starting") as status:

        def step(name: str, done: int, count: int) -> None:
            status.update(escape(f"{name} ({done + 1} of {count})"))
            if progress == "json":
                tell_line("Evaluating", done, count)

        result = evaluate_scenes(
            data,
            methods.split(",") if methods is not None else DEFAULT_METHODS,
            weights=weights or None,
            options=options,
            border=border,
            measured=measured,
            pictures=pictures,
            step=step,
        )
    print(result.markdown(), end="")
    for path in out or ():
        result.save(path)


@takes(SharpenOptions, "sensor", "seed")
def simulate(
    out: Annotated[Path, typer.Option(help="Folder for NAME_pan.tif, NAME_ms.tif, NAME_gt.tif.")],
    options: SharpenOptions,
    pan: Annotated[
        Path | None,
        typer.Option(help="PAN raster of a pair to degrade, instead of drawing a scene."),
    ] = None,
    ms: Annotated[
        Path | None, typer.Option(help="MS raster of that pair, which becomes the ground truth.")
    ] = None,
    name: Annotated[
        str, typer.Option(help="NAME of the files; several scenes are numbered.")
    ] = "scene",
    count: Annotated[int, typer.Option(help="How many scenes to draw.", min=1)] = 1,
    size: Annotated[int, typer.Option(help="Side of a drawn scene in PAN pixels.")] = 1024,
    bands: Annotated[int, typer.Option(help="Number of MS bands of a drawn scene.")] = 4,
    ratio: Annotated[int, typer.Option(help="Resolution ratio of a drawn scene, 2 to 8.")] = 4,
    overwrite: Overwrite = False,
) -> None:
    """Make scenes with ground truth: drawn ones, or a given pair degraded by Wald's protocol."""
    from ksdiff.synthetic.simulate import draw_scenes, simulate_files

    if (pan is None) != (ms is None):
        raise KSDiffError("pan and ms: give both, or neither to draw scenes")
    if pan is not None and ms is not None:
        names = [simulate_files(pan, ms, out, name, options.sensor, overwrite)]
    else:
        names = draw_scenes(
            out, name, count, size, bands, ratio, options.sensor, options.seed, overwrite
        )
    for made in names:
        print(f"{out / made}_pan.tif, {made}_ms.tif, {made}_gt.tif")


@takes(SharpenOptions, "device", "seed")
def profile(
    options: SharpenOptions,
    size: Annotated[int, typer.Option(help="Side of the drawn tile in PAN pixels.")] = 256,
    bands: Annotated[int, typer.Option(help="Number of bands, if no weights are given.")] = 8,
    weights: Weights = None,
) -> None:
    """Time each step of sharpening beside the least time this machine needs for it."""
    from ksdiff.inference.profile import profile as measure

    parts, machine = measure(
        weights, bands=bands, size=size, device=options.device, seed=options.seed
    )
    total = sum(part.seconds for part in parts)
    print(
        f"{size} x {size} PAN pixels; this machine: {machine.flops_per_second / 1e9:.0f} GFLOP/s, "
        f"{machine.bytes_per_second / 1e9:.0f} GB/s\n"
    )
    print(f"{'part':20}{'ms':>8}{'share':>8}{'GFLOP':>8}{'floor ms':>10}{'of floor':>10}")
    for part in parts:
        floor = part.floor(machine)
        print(
            f"{part.name:20}{part.seconds * 1e3:8.1f}{part.seconds / total:8.0%}"
            f"{part.flops / 1e9:8.2f}{floor * 1e3:10.2f}{floor / part.seconds:10.0%}"
        )
    print(f"{'all':20}{total * 1e3:8.1f}")


def info() -> None:
    """Show version, build, backends, devices, bundled weights and sensors."""
    import torch

    import ksdiff
    import ksdiff_ops
    from ksdiff.models.weights import bundled, load_weights
    from ksdiff.sensors import SENSORS

    print(
        f"ksdiff {ksdiff.__version__}, PyTorch {torch.__version__}, Python {sys.version.split()[0]}"
    )
    print("\nBuild")
    for key, value in ksdiff_ops.build_info().items():
        print(f"  {key}: {value}")
    print("\nBackends")
    for name, problem in ksdiff_ops.backends.available().items():
        print(f"  {name}: {'available' if problem is None else problem}")
    print("\nDevices")
    print(f"  cpu: {torch.get_num_threads()} threads")
    for index in range(torch.cuda.device_count()):
        print(f"  cuda:{index}: {torch.cuda.get_device_name(index)}")
    if not torch.cuda.device_count():
        print("  cuda: none")
    print("\nBundled weights")
    for name in bundled():
        model = load_weights(name)[1].model
        print(f"  {name}: {model.bands} bands, ratio {model.ratio}")
    if not bundled():
        print("  none")
    print("\nSensors")
    for sensor in SENSORS.values():
        print(f"  {sensor.name}: {', '.join(sensor.band_names)}; ratio {sensor.ratio}")
