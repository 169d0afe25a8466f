"""Running the command: its lines, its progress and its end. Needs no QGIS."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from .command import WINDOWS

_POLL = 0.1  # seconds between looks at whether to cancel
_GRACE = 20.0  # seconds for the command to remove what it has begun


class CommandFailed(Exception):
    """The command ended with an error; the message is what it said."""


class Share:
    """How much of the whole is done, from what the command says of its stages.

    Args:
        stages: what each takes of the time, in their order. Others do not count.
    """

    def __init__(self, stages: Mapping[str, float]) -> None:
        self._stages = stages
        self._most = 0.0

    def percent(self, stage: str, done: int, count: int) -> float:
        """From 0 to 100, never less than before."""
        if stage in self._stages:
            names = list(self._stages)
            before = sum(self._stages[name] for name in names[: names.index(stage)])
            here = self._stages[stage] * min(done / max(count, 1), 1)
            whole = sum(self._stages.values())
            self._most = max(self._most, 100 * (before + here) / whole)
        return self._most


def parse_progress(line: str) -> tuple[str, int, int] | None:
    """Stage, steps done and their count, of a line that ``--progress json`` writes."""
    if not line.startswith("{"):
        return None
    try:
        told = json.loads(line)
        return str(told["stage"]), int(told["done"]), int(told["count"])
    except (ValueError, KeyError, TypeError):
        return None


def run(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    progress: Callable[[str, int, int], object],
    log: Callable[[str], object],
    cancelled: Callable[[], bool],
    outputs: Sequence[str] = (),
) -> bool:
    """Run a command to its end, or end it when it is to be cancelled.

    All callbacks are called in the thread that calls this.

    Args:
        progress: takes stage, steps done and their count.
        log: takes every other line.
        outputs: files, and folders of files, that the command writes. What it hides beside them
            while it works is removed when it is cancelled and its workers have not done so.

    Returns:
        Whether it came to its end; False: it was cancelled, and has left no output.

    Raises:
        CommandFailed: it could not be started, or its exit status is not 0.
    """
    began = time.time()
    try:
        process = subprocess.Popen(
            list(arguments),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            **_apart(),
        )
    except OSError as error:
        raise CommandFailed(f"{arguments[0]} cannot be started: {error.strerror}") from None
    errors: list[str] = []
    ended = False
    try:
        for from_errors, line in _lines(process, cancelled):
            told = parse_progress(line) if from_errors else None
            if told is not None:
                progress(*told)
                continue
            if from_errors:
                errors.append(line)
            log(line)
        while not (ended or cancelled()):
            ended = process.poll() is not None
            time.sleep(0 if ended else _POLL)
    finally:
        if not ended:
            _stop(process, began, outputs)
    if ended and process.returncode:
        said = "\n".join(errors).strip() or f"exit status {process.returncode}"
        raise CommandFailed(said.removeprefix("error: "))
    return ended


def _lines(process: subprocess.Popen, cancelled: Callable[[], bool]) -> Iterator[tuple[bool, str]]:
    """Lines as they come, and whether from standard error; ends early when cancelled."""
    assert process.stdout is not None and process.stderr is not None
    lines: queue.Queue[tuple[bool, str] | None] = queue.Queue()

    def read(stream: IO[str], from_errors: bool) -> None:
        with stream:
            for line in stream:
                lines.put((from_errors, line.rstrip()))
        lines.put(None)

    for stream, from_errors in ((process.stdout, False), (process.stderr, True)):
        threading.Thread(target=read, args=(stream, from_errors), daemon=True).start()
    streams = 2
    while streams and not cancelled():
        try:
            line = lines.get(timeout=_POLL)
        except queue.Empty:
            continue
        if line is None:
            streams -= 1
        else:
            yield line


def _apart() -> dict:
    """A group of its own, so that all of its processes can be ended; on Windows, no console."""
    if WINDOWS:
        return {"creationflags": subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def _stop(process: subprocess.Popen, began: float, outputs: Sequence[str]) -> None:
    """By SIGTERM, after which it removes its files itself; then what is left is killed."""
    if WINDOWS:
        tree = ["taskkill", "/T", "/F", "/PID", str(process.pid)]
        subprocess.run(tree, capture_output=True, check=False, **_apart())
    else:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    _remove_parts(outputs, began)


def _remove_parts(outputs: Sequence[str], began: float) -> None:
    """Remove what the command hides beside outputs until they are complete."""
    for output in map(Path, outputs):
        folder = output if output.is_dir() else output.parent
        name = "*" if output.is_dir() else glob.escape(output.name)
        for part in folder.glob(f".{name}.*.part*"):
            if part.stat().st_mtime >= began:
                part.unlink(missing_ok=True)
