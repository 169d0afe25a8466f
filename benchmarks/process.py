"""Commands as processes of their own: their time, and the memory of all that they start."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.measure import kilobytes
from ksdiff.errors import KSDiffError

_PERIOD = 0.02  # seconds between two looks


class Run(NamedTuple):
    seconds: float
    cpu_seconds: float
    peak_bytes: int  # resident, of the process and its children together
    status: int


def run(
    command: Sequence[str | Path],
    log: Path | None = None,
    enough: Callable[[int], bool] = lambda process: False,
    ending: int = signal.SIGTERM,
    **environment: str,
) -> Run:
    """Run a command to its end, or until it is ``enough``, when it gets the signal ``ending``.

    Args:
        log: what it prints goes there, else nowhere.
        enough: told the process id, again and again.
        environment: variables beside those of this process.

    Raises:
        KSDiffError: it fails by itself.
    """
    with open(log or os.devnull, "ab") as file:
        began = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env=os.environ | environment,
        )
        peak, ended = 0, False
        while True:
            done, status, usage = os.wait4(process.pid, os.WNOHANG)
            if done:
                break
            peak = max(peak, _resident(process.pid))
            if not ended and enough(process.pid):
                process.send_signal(ending)
                ended = True
            time.sleep(_PERIOD)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode and not ended:
        raise KSDiffError(f"{' '.join(map(str, command))}: exit status {process.returncode}")
    seconds = time.perf_counter() - began
    return Run(seconds, usage.ru_utime + usage.ru_stime, peak, process.returncode)


def _resident(process: int, field: str = "VmHWM") -> int:
    """Bytes: the most that a process had itself, and what its children have; 0 if it has ended."""
    try:
        own = kilobytes(Path(f"/proc/{process}/status"), field) * 1024
        threads = Path(f"/proc/{process}/task").glob("*/children")
        children = [int(word) for path in threads for word in path.read_text().split()]
    except OSError:
        return 0
    return own + sum(_resident(child, "VmRSS") for child in children)
