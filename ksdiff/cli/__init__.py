"""The command ``ksdiff``: each command parses options, makes one call and prints a few lines."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

import ksdiff
from ksdiff.cli import batch, evaluate, report, serve, sharpen, train
from ksdiff.errors import KSDiffError
from ksdiff.runtime import keep_freed_memory

app = typer.Typer(
    help="Pansharpening by kernel-space diffusion.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_state = {"debug": False}


def _version(wanted: bool) -> None:
    if wanted:
        print(f"ksdiff {ksdiff.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    _state["debug"] = debug


_PANELS: dict[str, dict[Callable[..., None], str]] = {
    "Sharpen": {
        sharpen.sharpen: "sharpen PAN.tif MS.tif FUSED.tif",
        batch.batch: "batch SCENES --out FUSED",
        serve.serve: "serve --root SCENES",
        sharpen.adapt: "adapt PAN.tif MS.tif mine.safetensors",
    },
    "Judge": {
        report.report: "report PAN.tif MS.tif FUSED.tif --out report.html",
        evaluate.evaluate: "evaluate --data SCENES --methods ksdiff,gsa --out scores.json",
        evaluate.simulate: "simulate --out SCENES --count 3 --bands 8",
        evaluate.profile: "profile --size 512 --bands 8",
        evaluate.info: "info",
    },
    "Train": {
        train.train: "train wv3 --resume",
        train.ablate: "ablate ablation.yaml",
        train.prior: "prior --weights mine.safetensors --data SCENES",
    },
}
for _panel, _commands in _PANELS.items():
    for _command, _example in _commands.items():
        app.command(rich_help_panel=_panel, epilog=f"Example: ksdiff {_example}")(_command)
app.add_typer(train.data, name="data", rich_help_panel="Train")


def main() -> None:
    """Run the command; errors become one message and exit status 1."""
    signal.signal(signal.SIGTERM, _terminate)
    # PyTorch reads this on import. On a busy machine, waiting threads that spin take the core that
    # the computing thread needs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # silent where HOME is read-only
    # Importing PyTorch makes half a million objects that stay. Looking through them again and again
    # takes a sixth of its time, and once more at exit a second.
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
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


def _terminate(*_: object) -> None:
    # Unwinds the stack, so that temporary files are removed.
    sys.exit(128 + signal.SIGTERM)
