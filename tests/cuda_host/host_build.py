"""Compiles the CUDA operators for the host, once per state of their sources."""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pybind11
import torch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CSRC = ROOT / "csrc"
COMPILER = os.environ.get("CXX", "g++")
# The torch library and C++ namespace that take the place of `ksdiff_ops`.
LIBRARY = "ksdiff_ops_cuda_on_host"
SOURCES = (
    CSRC / "schema.cpp",
    CSRC / "cuda/dynamic_conv.cu",
    CSRC / "cuda/lowrank_dynamic_conv.cu",
    CSRC / "cuda/tucker_kernel.cu",
)
FLAGS = ("-std=c++20", "-fPIC", "-w", "-DTORCH_TARGET_VERSION=0x020a000000000000")
# Without optimisation the sanitised build takes half as long, and its runs are small.
OPTIMISE = ("-O1",)
SANITIZE = ("-O0", "-g1", "-fsanitize=address")


def compiler_missing() -> bool:
    return shutil.which(COMPILER) is None


@cache
def load() -> Any:
    """`torch.ops.<LIBRARY>`: the CUDA operators on CPU tensors, with their gradients and fakes."""
    from ksdiff_ops import registration

    torch.ops.load_library(operators(sanitize="KSDIFF_HOST_SANITIZE" in os.environ))
    registration.register(LIBRARY)
    return getattr(torch.ops, LIBRARY)


def operators(sanitize: bool = False) -> Path:
    """The shared library that registers the operators for the CPU."""
    suffix = "-asan" if sanitize else ""
    library = folder() / f"operators{suffix}.so"
    if not library.exists():
        flags = SANITIZE if sanitize else OPTIMISE
        with ThreadPoolExecutor(2) as pool:
            objects = list(pool.map(lambda source: _compile(source, flags, suffix), SOURCES))
        torch_libraries = Path(torch.__file__).parent / "lib"
        _run(
            *(COMPILER, "-shared", *flags, *objects, "-Wl,--no-as-needed"),
            *(f"-L{torch_libraries}", "-ltorch", "-ltorch_cpu", "-lc10"),
            output=library,
        )
    return library


def probe() -> Path:
    """The Python module `host_probe`."""
    source = HERE / "host_probe.cpp"
    library = folder(source) / f"host_probe{sysconfig.get_config_var('EXT_SUFFIX')}"
    if not library.exists():
        includes = (pybind11.get_include(), sysconfig.get_paths()["include"])
        _run(
            *(COMPILER, "-shared", *OPTIMISE, *FLAGS, *_includes()),
            *(f"-I{path}" for path in includes),
            source,
            output=library,
        )
    return library


def folder(*more: Path) -> Path:
    """Where the results of compiling the present sources, and `more` of them, are kept."""
    inputs = [
        *SOURCES,
        *CSRC.glob("*.h"),
        *CSRC.glob("cuda/*.h"),
        *CSRC.glob("cuda/*.cuh"),
        *HERE.glob("*.h"),
        *more,
        Path(__file__),
    ]
    digest = hashlib.sha256(f"{sys.version}{torch.__version__}{pybind11.__version__}".encode())
    for path in sorted(inputs):
        digest.update(path.read_bytes())
    path = ROOT / "build" / "cuda_host" / digest.hexdigest()[:16]
    path.mkdir(parents=True, exist_ok=True)
    return path


def _includes() -> tuple[str, ...]:
    return f"-I{CSRC}", f"-I{HERE}", f"-I{Path(torch.__file__).parent / 'include'}"


def _compile(source: Path, flags: tuple[str, ...], suffix: str) -> Path:
    target = folder() / f"{source.stem}{suffix}.o"
    if not target.exists():
        _run(
            *(COMPILER, "-c", *FLAGS, *flags, *_includes(), f"-Dksdiff_ops={LIBRARY}"),
            *("-x", "c++", source),
            output=target,
        )
    return target


def _run(*command: object, output: Path) -> None:
    # Written beside and moved, so that another process never sees half a file.
    unfinished = output.with_name(f"{output.name}.{os.getpid()}")
    words = [str(word) for word in command] + ["-o", str(unfinished)]
    result = subprocess.run(words, capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}\n{result.stderr}")
    unfinished.replace(output)
