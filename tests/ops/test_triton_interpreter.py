"""The Triton kernels' values, run by Triton's interpreter in processes of their own.

The interpreter is chosen by TRITON_INTERPRET before Triton is first imported, and then serves the
whole process: other tests would lose the compiler.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton is not installed")

CHECKS = sorted((Path(__file__).parent / "triton_interpreter").glob("check_*.py"))
ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def interpreted():
    """The checks' processes, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        yield {
            path: pool.submit(
                run, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path), TRITON_INTERPRET="1"
            )
            for path in CHECKS
        }


@pytest.mark.parametrize("checks", CHECKS, ids=lambda path: path.stem)
def test_kernels_equal_the_reference_in_the_interpreter(interpreted, checks):
    done = interpreted[checks].result()
    assert done.returncode == 0, done.stdout + done.stderr


def test_importing_the_operators_does_not_import_triton():
    done = run("-c", "import sys, ksdiff_ops; sys.exit('triton' in sys.modules)")
    assert done.returncode == 0, done.stdout + done.stderr


def test_without_the_interpreter_cpu_tensors_are_refused():
    program = (
        "import torch, ksdiff_ops\n"
        "x, weight = torch.ones(1, 1, 2, 2), torch.ones(1, 1, 1, 1, 2, 2)\n"
        "try:\n"
        "    ksdiff_ops.dynamic_conv(x, weight, backend='triton')\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    done = run("-c", program, TRITON_INTERPRET="0")
    assert "'triton' cannot run on tensors on 'cpu'" in done.stdout, done.stdout + done.stderr
