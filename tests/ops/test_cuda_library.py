"""The compiled CUDA library itself, even where PyTorch has no CUDA to run it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ksdiff_ops
from ksdiff_ops import native

LIBRARY = Path(ksdiff_ops.__file__).parent / "_C_cuda.so"

# The one symbol that a PyTorch without CUDA lacks: loading resolves it, nothing here calls it.
STUB = "int aoti_torch_get_current_cuda_stream(int device, void** stream) { return 1; }"

CHECK = """
import ctypes, sys, torch
from ksdiff_ops import backends, native, registration
if not native.cuda_loaded:
    ctypes.CDLL(sys.argv[2], mode=ctypes.RTLD_GLOBAL)
    torch.ops.load_library(sys.argv[1])
without = tuple(op for op, on in backends.AUTOMATIC.items() if "cuda" not in on["cuda"].backends)
for name in registration.OPERATORS:
    has = torch._C._dispatch_has_kernel_for_dispatch_key(f"ksdiff_ops::{name}", "CUDA")
    assert has == (not name.startswith(without)), f"{name}: has a CUDA kernel is {has}"
"""


def test_the_library_brings_the_cuda_kernels_that_the_choice_counts_on(tmp_path):
    if native.module is None or not LIBRARY.exists():
        pytest.skip("built without CUDA kernels; KSDIFF_OPS_CUDA=1 and nvcc build them")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    stub = tmp_path / "libstub.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", stub],
        input=STUB,
        text=True,
        check=True,
    )
    result = subprocess.run(
        [sys.executable, "-c", CHECK, LIBRARY, stub], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
