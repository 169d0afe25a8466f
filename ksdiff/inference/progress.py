"""Progress bars on the terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

# Begins a bar with a name and a count of steps; the result is called after each of them.
Stage = Callable[[str, int], Callable[[], None]]


@contextlib.contextmanager
def progress_bars(show: bool | Stage) -> Iterator[Stage]:
    """What begins bars on standard error, or, unless ``show``, what shows nothing.

    A stage that is there already goes on.
    """
    if callable(show):
        yield show
        return
    if not show:
        yield silent
        return
    columns = (TextColumn("{task.description:<10}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:

        def stage(name: str, count: int) -> Callable[[], None]:
            task = bar.add_task(name, total=count)
            return lambda: bar.advance(task)

        yield stage


def silent(name: str, count: int) -> Callable[[], None]:
    """A stage that shows nothing."""
    return lambda: None
