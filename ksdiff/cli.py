"""The command ``ksdiff``. Options in, one call, a few lines out; the work is elsewhere."""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ksdiff.errors import KSDiffError
from ksdiff.runtime import keep_freed_memory

app = typer.Typer(
    help="Pansharpening by kernel-space diffusion.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data = typer.Typer(help="Look at and mend PanCollection's HDF5 files.", no_args_is_help=True)
app.add_typer(data, name="data")
_state = {"debug": False}


class Device(str, Enum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Precision(str, Enum):
    float32 = "float32"
    bfloat16 = "bfloat16"


class Contrast(str, Enum):
    slope = "slope"
    deviations = "deviations"


class Stage(str, Enum):
    one = "1"
    two = "2"
    all = "all"


Weights = Annotated[
    str | None,
    typer.Option(help="Bundled name or .safetensors file; by default the scene's bands decide."),
]
Sensor = Annotated[
    str | None,
    typer.Option(
        help="wv2, wv3, wv4, gf2, qb, ikonos, geoeye1, pleiades, spot6 or landsat8; "
        "generic MTF gains without."
    ),
]
DeviceOption = Annotated[Device, typer.Option(help="Where to compute.")]
Seed = Annotated[int, typer.Option(help="Of the noise; the same seed gives the same bytes.")]
Register = Annotated[
    bool, typer.Option(help="Put PAN and bands in place where the scene shows them off.")
]
ContrastOption = Annotated[
    Contrast,
    typer.Option(
        help="What a band's detail is to PAN's: its slope between neighbours, or the ratio of "
        "standard deviations, which full-resolution indexes prefer."
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing output files.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar, no summary.")]
_MINUTES = 5.0  # of --adapt
_TOLD_BLUR = 0.25  # a measured MTF that is off the sensor's by more is worth a line


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    _state["debug"] = debug


@app.command()
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


@app.command("adapt")
def adapt_weights(
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
    from ksdiff.training.adapt import adapt

    with Progress(
        *(TextColumn("Adapting  "), BarColumn()),
        *(TextColumn("error {task.fields[error]}"), TimeRemainingColumn()),
        console=Console(stderr=True),
        disable=quiet,
    ) as bar:
        task = bar.add_task("", total=1.0, error="not known yet")
        done = adapt(
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


@app.command()
def train(
    config: Annotated[
        str,
        typer.Argument(
            help="YAML file with the keys of ksdiff/config.py, or a bundled one by name: wv3, gf2, "
            "qb, wv2 (PanCollection, in the folder KSDIFF_DATA), ksdiff-s-4band, ..."
        ),
    ],
    stage: Annotated[Stage, typer.Option(help="Which of the two stages to run.")] = Stage.all,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint of the run.")
    ] = False,
) -> None:
    """Train KSDiff as the configuration says."""
    from ksdiff.config import load_config
    from ksdiff.training import run

    print(f"{run(load_config(config), stage.value, resume)}: weights")


@app.command()
def evaluate(
    data: Annotated[
        Path,
        typer.Option(
            help="Folder of NAME_pan.tif, NAME_ms.tif and maybe NAME_gt.tif, or PanCollection's "
            ".h5 file."
        ),
    ],
    methods: Annotated[
        str | None, typer.Option(help="Names with commas between; all of them by default.")
    ] = None,
    out: Annotated[
        list[Path] | None,
        typer.Option(
            "--out", "--json", help="File to write: .json, .csv, .tex or .md. Can be repeated."
        ),
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder for a PNG per scene: results, parts, errors.")
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            help="Bundled name or .safetensors file; by default the scene's bands decide. "
            "Repeated, each becomes a method of its own."
        ),
    ] = None,
    sensor: Sensor = None,
    border: Annotated[
        int, typer.Option(help="Pixels cut from the sides before indexes with ground truth.")
    ] = 21,
    measured: Annotated[
        bool,
        typer.Option(
            "--measured",
            help="Give classical methods, too, bands and PAN put in place and the measured MTF.",
        ),
    ] = False,
    register: Register = True,
    contrast: ContrastOption = Contrast.slope,
    device: DeviceOption = Device.auto,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Score methods on scenes; print tables in Markdown."""
    from ksdiff.evaluation import DEFAULT_METHODS
    from ksdiff.evaluation import evaluate as evaluate_scenes
    from ksdiff.evaluation.report import output_kind
    from ksdiff.io.outputs import check_output

    for path in out or ():
        output_kind(path)
        check_output(path, overwrite)
    with Console(stderr=True).status("starting") as status:
        result = evaluate_scenes(
            data,
            methods.split(",") if methods is not None else DEFAULT_METHODS,
            weights=weights or None,
            sensor=sensor,
            border=border,
            measured=measured,
            register=register,
            contrast=contrast.value,
            device=device.value,
            seed=seed,
            pictures=pictures,
            step=lambda name: status.update(escape(name)),
        )
    print(result.markdown(), end="")
    for path in out or ():
        result.save(path)


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="Folder for NAME_pan.tif, NAME_ms.tif, NAME_gt.tif.")],
    pan: Annotated[Path | None, typer.Option(help="Degrade this pair instead of drawing.")] = None,
    ms: Annotated[Path | None, typer.Option(help="Its MS raster, which becomes the truth.")] = None,
    name: Annotated[str, typer.Option(help="NAME; numbered where there are several.")] = "scene",
    count: Annotated[int, typer.Option(help="How many scenes to draw.", min=1)] = 1,
    size: Annotated[int, typer.Option(help="Side of a drawn scene in PAN pixels.")] = 1024,
    bands: Annotated[int, typer.Option(help="MS bands of a drawn scene.")] = 4,
    ratio: Annotated[int, typer.Option(help="Of a drawn scene, 2 or 4.")] = 4,
    sensor: Sensor = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Make scenes with ground truth: drawn ones, or a given pair degraded by Wald's protocol."""
    from ksdiff.synthetic.simulate import draw_scenes, simulate_files

    if (pan is None) != (ms is None):
        raise KSDiffError("pan and ms: give both, or neither to draw scenes")
    if pan is not None:
        names = [simulate_files(pan, ms, out, name, sensor, overwrite)]
    else:
        names = draw_scenes(out, name, count, size, bands, ratio, sensor, seed, overwrite)
    for made in names:
        print(f"{out / made}_pan.tif, {made}_ms.tif, {made}_gt.tif")


@data.command()
def check(
    file: Annotated[Path, typer.Argument(help="PanCollection's .h5 file.")],
    sensor: Annotated[str, typer.Option(help="wv2, wv3, gf2 or qb.")],
) -> None:
    """See whether a file is what training and evaluation expect."""
    from ksdiff.io.pancollection import PanCollection

    print(PanCollection(file, sensor, truth=False).describe())


@data.command()
def repair(
    file: Annotated[Path, typer.Argument(help="PanCollection's .h5 file.")],
    out: Annotated[Path, typer.Option(help="Repaired copy to write.")],
    overwrite: Overwrite = False,
) -> None:
    """Mend patches whose ms is one pixel off, as in QuickBird's files; takes ms from lms."""
    from ksdiff.io.outputs import check_output
    from ksdiff.io.repair import repair as repair_file

    done = repair_file(file, check_output(out, overwrite))
    print(f"{out}: {done.shifted} of {done.patches} patches mended")


@app.command()
def profile(
    size: Annotated[int, typer.Option(help="Side of the drawn tile in PAN pixels.")] = 256,
    bands: Annotated[int, typer.Option(help="Of the tile, where no weights are named.")] = 8,
    weights: Weights = None,
    device: DeviceOption = Device.auto,
    seed: Seed = 0,
) -> None:
    """Tell where the time of sharpening goes, beside what this machine needs at least."""
    from ksdiff.inference.profile import profile as measure

    parts, machine = measure(weights, bands=bands, size=size, device=device.value, seed=seed)
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


@app.command()
def ablate(
    config: Annotated[
        Path, typer.Argument(help="YAML with folder, seeds, base and tables; docs/ablations.md.")
    ],
) -> None:
    """Train what a file of ablations compares; what is finished is not repeated."""
    from ksdiff.evaluation.ablation import load_ablation
    from ksdiff.evaluation.ablation import train as train_all
    from ksdiff.evaluation.ablation_report import markdown, report, write

    ablation = load_ablation(config)
    train_all(ablation, lambda text: print(text, file=sys.stderr))
    values = report(ablation)
    print(markdown(values), end="")
    for path in write(values, ablation.folder):
        print(f"{path}: written", file=sys.stderr)


@app.command()
def prior(
    data: Annotated[Path, typer.Option(help="Folder of NAME_pan.tif, NAME_ms.tif, NAME_gt.tif.")],
    weights: Annotated[str, typer.Option(help="Bundled name or .safetensors file.")],
    json: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Tell how near the sampled prior comes to the true one, and what it is worth."""
    from ksdiff.evaluation.prior import inspect_weights, write_json
    from ksdiff.io.outputs import check_output

    if json is not None:
        check_output(json, overwrite, "json")
    found = inspect_weights(weights, data)
    print(found.markdown(), end="")
    if json is not None:
        write_json(found, weights, json)


@app.command()
def info() -> None:
    """Tell version, build, backends, devices and bundled weights."""
    import torch

    import ksdiff
    import ksdiff_ops
    from ksdiff.models.weights import bundled, load_weights

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
    print("\nBundled weights")
    for name in bundled():
        model = load_weights(name)[1].model
        print(f"  {name}: {model.bands} bands, ratio {model.ratio}")
    if not bundled():
        print("  none")


def main() -> None:
    """Run the command; errors become one message and exit status 1."""
    signal.signal(signal.SIGTERM, _terminate)
    keep_freed_memory()
    try:
        app(prog_name="ksdiff")
    except KSDiffError as error:
        _fail(f"error: {error}")
    except Exception as error:
        _fail(
            f"unexpected {type(error).__name__}: {error}\nksdiff --debug shows where it comes from"
        )


def _fail(message: str) -> None:
    if _state["debug"]:
        raise
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"[red]{escape(message)}[/red]")
    sys.exit(1)


def _terminate(*_) -> None:
    # Unwinds the stack, so that temporary files are removed.
    sys.exit(128 + signal.SIGTERM)
