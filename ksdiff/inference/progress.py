"""Progress: bars on the terminal, lines and callbacks for programs."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ksdiff.errors import Cancelled

# Begins a bar with a name and a count of steps; the result is called after each of them.
Stage = Callable[[str, int], Callable[[], None]]


@contextlib.contextmanager
def progress_bars(show: bool | Stage) -> Iterator[Stage]:
    """A stage callback that shows bars on standard error; unless ``show``, one that shows nothing.

    A callback given as ``show`` is passed on.
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


def watched(
    tell: Callable[[str, int, int], object] = lambda name, done, count: None,
    cancel: Callable[[], bool] = lambda: False,
) -> Stage:
    """A stage for programs, for every argument ``progress`` and ``stage``.

    Both are called in the thread that computes, after every window that is read or fused and before
    the first one.

    Args:
        tell: takes the name of what is done, how many of its steps are, and how many there are.
        cancel: whether to stop. The call that was given the stage then raises `Cancelled`, and
            files that it would have written are not there.
    """

    def stage(name: str, count: int) -> Callable[[], None]:
        done = -1

        def step() -> None:
            nonlocal done
            done += 1
            tell(name, done, count)
            if cancel():
                raise Cancelled(f"cancelled at {name.lower()}, step {done} of {count}")

        step()
        return step

    return stage


def tell_line(name: str, done: int, count: int) -> None:
    """Write a line of JSON to standard error, for a program that has started the command."""
    line = json.dumps({"stage": name, "done": done, "count": count})
    print(line, file=sys.stderr, flush=True)


def silent(name: str, count: int) -> Callable[[], None]:
    """A stage that shows nothing."""
    return lambda: None
