import os
import subprocess
import sys
from pathlib import Path

import host_build
import pytest

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def address_sanitizer() -> str:
    if host_build.compiler_missing():
        pytest.skip(f"no C++ compiler {host_build.COMPILER!r}")
    found = subprocess.run(
        [host_build.COMPILER, "-print-file-name=libasan.so"], capture_output=True, text=True
    ).stdout.strip()
    if not Path(found).is_absolute():
        pytest.skip(f"{host_build.COMPILER} has no address sanitizer")
    host_build.operators(sanitize=True)
    return found


def test_no_kernel_touches_memory_that_is_not_its_own(address_sanitizer):
    environment = os.environ | {
        "LD_PRELOAD": address_sanitizer,
        "ASAN_OPTIONS": "detect_leaks=0",  # Python's own
        "KSDIFF_HOST_SANITIZE": "1",
    }
    result = subprocess.run(
        [
            # Uncaptured: what pytest holds back is lost when the sanitizer ends the process.
            *(sys.executable, "-m", "pytest", "-q", "-x", "-s", "-p", "no:cacheprovider"),
            *("test_convolutions_on_host.py", "test_tucker_on_host.py"),
            *("-k", "(reference and float32) or nothing or layout"),
        ],
        cwd=HERE,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    assert " passed" in result.stdout and "skipped" not in result.stdout
