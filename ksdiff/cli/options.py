"""Options that commands share, and how a dataclass becomes options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields
from types import GenericAlias
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from ksdiff.inference.progress import Stage, tell_line, watched

Weights = Annotated[
    str | None,
    typer.Option(help="Bundled name or .safetensors file; by default chosen by the scene's bands."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing output files.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar, no summary.")]
Progress = Annotated[
    Literal["bar", "json"],
    typer.Option(
        help="How progress is shown. bar: on the terminal; json: lines on standard error."
    ),
]


def shown(progress: str, quiet: bool) -> bool | Stage:
    """What ``progress_bars`` takes for the options --progress and --quiet."""
    return watched(tell_line) if progress == "json" and not quiet else not quiet


def takes(
    options: type, *names: str, into: str = "options", panel: str | None = None
) -> Callable[[Callable], Callable]:
    """Give a command the fields of an options dataclass, each as an option of its own.

    The command itself takes them as one argument.

    Args:
        options: dataclass whose fields are ``Annotated[type, help]`` and have defaults.
        names: of the fields; by default all.
        into: the argument's name.
        panel: heading of the options in the help; by default they join the command's own.
    """
    hints = get_type_hints(options, include_extras=True)
    chosen = [each for each in fields(options) if not names or each.name in names]

    def decorate(command: Callable) -> Callable:
        @functools.wraps(command)
        def run(**given: Any) -> None:
            values = {each.name: given.pop(each.name) for each in chosen}
            command(**given, **{into: options(**values)})

        own = inspect.signature(command, eval_str=True).parameters
        parameters = [
            *(each for name, each in own.items() if name != into),
            *(_parameter(each.name, each.default, hints[each.name], panel) for each in chosen),
        ]
        # Typer reads the options from here.
        vars(run)["__signature__"] = inspect.Signature(parameters)
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return decorate


def _parameter(name: str, default: object, hint: Any, panel: str | None) -> inspect.Parameter:
    kind, (help,) = hint.__origin__, hint.__metadata__
    # A switch that is off by default needs no second name to turn it off.
    flags = (f"--{name}",) if default is False else ()
    if get_origin(kind) is tuple:
        kind = GenericAlias(list, get_args(kind)[:1])
    annotated: Any = Annotated
    annotation = annotated[kind, typer.Option(*flags, help=help, rich_help_panel=panel)]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )
