"""Compiles csrc/ with ninja: `_C.so` always, `_C_cuda.so` where nvcc is found.

Neither library refers to Python: one wheel serves every Python.

Environment:
    KSDIFF_OPS_CUDA: "auto" (the default: CUDA kernels where nvcc is found), "1", "0".
    TORCH_CUDA_ARCH_LIST: GPU architectures, such as "8.0;9.0+PTX", or "all" for a release. By
        default those of the GPUs of this machine; where there is none, DEFAULT_ARCHITECTURES.
    CXX, CXXFLAGS, LDFLAGS: as usual. MAX_JOBS: how many compilers at once.
"""

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from setuptools import Distribution, Extension
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from torch_location import find_torch

CPU_LIBRARY = "ksdiff_ops._C"
CUDA_LIBRARY = "ksdiff_ops._C_cuda"
TORCH_TARGET = "-DTORCH_TARGET_VERSION=0x020a000000000000"  # 2.10: the oldest that can load it
ARCHITECTURES = ("8.0", "9.0", "10.0", "12.0")  # of a release, as far as nvcc knows them
DEFAULT_ARCHITECTURES = ("8.0+PTX",)  # newer GPUs translate the PTX when they first load it
_AVX512 = [
    *("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"),
    *("-mfma", "-mf16c", "-mprefer-vector-width=512"),
]
INSTRUCTION_SETS = {
    "rows_avx2": ["-mavx2", "-mfma", "-mf16c"],
    "rows_avx512": _AVX512,
    "rows_avx512bf16": [*_AVX512, "-mavx512bf16"],
}


class BuildProblem(SystemExit):
    """Ends the build with one readable line."""

    def __init__(self, message: str) -> None:
        super().__init__(f"ksdiff_ops: {message}")


@dataclass(frozen=True)
class Nvcc:
    """A CUDA compiler and the architectures it is to build for."""

    path: Path
    architectures: tuple[str, ...]  # such as "9.0" or "9.0+PTX"

    def code_flags(self) -> list[str]:
        flags = []
        for architecture in self.architectures:
            number = architecture.removesuffix("+PTX").replace(".", "")
            flags.append(f"-gencode=arch=compute_{number},code=sm_{number}")
            if architecture.endswith("+PTX"):
                flags.append(f"-gencode=arch=compute_{number},code=compute_{number}")
        return flags

    def version(self) -> str:
        """Of the toolkit, and so of the runtime linked in, such as "13.0"."""
        told = subprocess.run([self.path, "--version"], capture_output=True, text=True, check=True)
        found = re.search(r"release (\d+\.\d+)", told.stdout)
        if found is None:
            raise BuildProblem(f"{self.path} --version names no release: {told.stdout!r}")
        return found.group(1)

    def library_folder(self) -> Path:
        """Where cudart_static is, next to the compiler that the path in the end leads to."""
        home = toolkit_home(self.path)
        for folder in (home / "lib64", home / "targets/x86_64-linux/lib", home / "lib"):
            if (folder / "libcudart_static.a").exists():
                return folder
        raise BuildProblem(f"found nvcc at {self.path} but no libcudart_static.a under {home}")


def toolkit_home(nvcc: Path) -> Path:
    """The toolkit's folder, asked from nvcc itself: it may be reached through a wrapper."""
    dry_run = subprocess.run(
        [nvcc, "-dryrun", "-x", "cu", "-c", os.devnull], capture_output=True, text=True
    )
    found = re.search(r"^#\$ TOP=(.+)$", dry_run.stdout + dry_run.stderr, re.MULTILINE)
    return Path(found.group(1)).resolve() if found else nvcc.resolve().parent.parent


def find_nvcc() -> Path | None:
    homes = [os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH")]
    for home in filter(None, homes):
        path = Path(home) / "bin/nvcc"
        if path.exists():
            return path
    on_path = shutil.which("nvcc")
    if on_path:
        return Path(on_path)
    usual = Path("/usr/local/cuda/bin/nvcc")
    return usual if usual.exists() else None


def choose_architectures(nvcc: Path) -> tuple[tuple[str, ...], str]:
    """What to compile for, and why: as asked, else for the GPUs here, else a short list."""
    asked = os.environ.get("TORCH_CUDA_ARCH_LIST", "").replace(",", " ").replace(";", " ").split()
    if asked == ["all"]:
        known = known_architectures(nvcc)
        chosen = [architecture for architecture in ARCHITECTURES if architecture in known]
        if not chosen:
            raise BuildProblem(f"{nvcc} knows none of the architectures {' '.join(ARCHITECTURES)}")
        return (*chosen[:-1], chosen[-1] + "+PTX"), "TORCH_CUDA_ARCH_LIST=all"
    for architecture in asked:
        if not re.fullmatch(r"\d+\.\d[af]?(\+PTX)?", architecture):
            raise BuildProblem(
                "TORCH_CUDA_ARCH_LIST: expected 'all' or numbers such as '8.0;9.0+PTX', "
                f"got {architecture!r}"
            )
    if asked:
        return tuple(asked), "TORCH_CUDA_ARCH_LIST"
    present = architectures_here()
    if present and set(present) <= known_architectures(nvcc):
        return present, "the GPUs of this machine"
    return DEFAULT_ARCHITECTURES, "the default; TORCH_CUDA_ARCH_LIST=all compiles for all"


def known_architectures(nvcc: Path) -> set[str]:
    """Those that this nvcc compiles for, such as "9.0"."""
    listed = subprocess.run([nvcc, "--list-gpu-arch"], capture_output=True, text=True, check=True)
    return {f"{number[:-1]}.{number[-1]}" for number in re.findall(r"compute_(\d+)", listed.stdout)}


def architectures_here() -> tuple[str, ...]:
    """Of the GPUs that the driver reports, each once; none where there is no driver."""
    try:
        told = subprocess.run(
            ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(sorted(set(re.findall(r"^\d+\.\d$", told, re.MULTILINE)), key=float))


def decide_cuda() -> tuple[Nvcc | None, str]:
    """The CUDA compiler to use, if any, and the reason in words."""
    asked = os.environ.get("KSDIFF_OPS_CUDA", "auto")
    if asked not in ("auto", "0", "1"):
        raise BuildProblem(f"KSDIFF_OPS_CUDA: expected auto, 0 or 1, got {asked!r}")
    if asked == "0":
        return None, "KSDIFF_OPS_CUDA=0"
    path = find_nvcc()
    if path is None:
        if asked == "1":
            raise BuildProblem("KSDIFF_OPS_CUDA=1, but no nvcc in CUDA_HOME or on PATH")
        return None, "no nvcc in CUDA_HOME or on PATH"
    architectures, why = choose_architectures(path)
    return Nvcc(path, architectures), f"{path}, architectures {' '.join(architectures)} ({why})"


def native_extensions(root: Path) -> list[Extension]:
    """The libraries to build here; KSDIFF_OPS_CUDA is only looked at, nothing is compiled yet."""
    csrc = root / "csrc"
    cpu = [csrc / "build_info.cpp", csrc / "schema.cpp", *sorted((csrc / "cpu").glob("*.cpp"))]
    extensions = [Extension(CPU_LIBRARY, [str(path.relative_to(root)) for path in cpu])]
    nvcc, _ = decide_cuda()
    cuda = sorted((csrc / "cuda").glob("*.cu"))
    if nvcc is not None and cuda:
        sources = [str(path.relative_to(root)) for path in cuda]
        extensions.append(Extension(CUDA_LIBRARY, sources))
    return extensions


class NinjaBuildExt(build_ext):
    """Builds all libraries in one ninja run, and swaps finished ones in whole."""

    def __init__(self, dist: Distribution) -> None:
        super().__init__(dist)
        self.nvcc, self.cuda_reason = decide_cuda()

    def get_ext_filename(self, fullname: str) -> str:
        # No Python modules: they only register kernels, so their names carry no Python version.
        return str(Path(*fullname.split("."))) + ".so"

    def build_extensions(self) -> None:
        if sys.platform == "win32":
            raise BuildProblem("the kernels need GCC or Clang; on Windows, build under WSL")
        torch = find_torch()
        if torch is None:
            raise BuildProblem("no PyTorch >= 2.10 found to take headers from; pip install torch")
        self.torch_root, self.torch_version = torch
        self.announce_decisions()
        folder = Path(self.build_temp).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "build.ninja").write_text(self.ninja_text(folder))
        command = [self.ninja(), "-C", str(folder)]
        jobs = os.environ.get("MAX_JOBS") or self.parallel
        if jobs:
            command += ["-j", str(jobs)]
        result = subprocess.run(command)
        if result.returncode != 0:
            hint = "; KSDIFF_OPS_CUDA=0 leaves the CUDA kernels out" if self.cuda_is_built else ""
            raise BuildProblem(f"the compiler failed, see above{hint}")

    def copy_extensions_to_source(self) -> None:
        # A running process may have the old library mapped: replace the file, never rewrite it.
        for extension in self.extensions:
            built = Path(self.build_lib) / self.get_ext_filename(extension.name)
            target = Path(*extension.name.split(".")[:-1]) / built.name
            fresh = target.with_suffix(".new")
            shutil.copy2(built, fresh)
            os.replace(fresh, target)

    @property
    def cuda_is_built(self) -> bool:
        return any(extension.name == CUDA_LIBRARY for extension in self.extensions)

    def announce_decisions(self) -> None:
        cuda = self.cuda_reason
        if self.nvcc is None:
            cuda = f"left out ({cuda})"
        elif not self.cuda_is_built:
            cuda = "left out (no sources in csrc/cuda)"
        print(f"ksdiff_ops: headers of PyTorch {self.torch_version} in {self.torch_root}")
        print(f"ksdiff_ops: C++ compiler {' '.join(self.cxx())}")
        print(f"ksdiff_ops: CPU instruction sets generic {' '.join(self.instruction_sets())}")
        print(f"ksdiff_ops: CUDA kernels {cuda}", flush=True)

    @staticmethod
    def ninja() -> str:
        try:
            import ninja

            return str(Path(ninja.BIN_DIR) / "ninja")
        except ImportError:
            found = shutil.which("ninja")
        if found is None:
            raise BuildProblem("ninja is missing; pip install ninja")
        return found

    @staticmethod
    def cxx() -> list[str]:
        return shlex.split(os.environ.get("CXX") or "c++")

    @staticmethod
    def instruction_sets() -> list[str]:
        if platform.machine().lower() not in ("x86_64", "amd64"):
            return []
        return [name.removeprefix("rows_") for name in INSTRUCTION_SETS]

    def definitions(self) -> list[str]:
        architectures = self.nvcc.architectures if self.nvcc and self.cuda_is_built else ()
        texts = {
            "KSDIFF_VERSION": self.distribution.get_version(),
            "KSDIFF_TORCH_BUILT_WITH": self.torch_version,
            "KSDIFF_CUDA_BUILT": "true" if architectures else "false",
            "KSDIFF_CUDA_BUILT_WITH": self.nvcc.version() if architectures else "",
            "KSDIFF_CUDA_ARCHITECTURES": " ".join(architectures),
        }
        return [f'-D{name}="{text}"' for name, text in texts.items()]

    def cxx_flags(self) -> list[str]:
        flags = ["-std=c++20", "-O3", "-fPIC", "-fvisibility=hidden", "-Wall", TORCH_TARGET]
        flags += ["-isystem", str(self.torch_root / "include")]
        if self.instruction_sets():
            flags.append("-DKSDIFF_X86_ROWS")
        return flags + shlex.split(os.environ.get("CXXFLAGS", ""))

    def nvcc_flags(self) -> list[str]:
        return [
            # -O1 is the host's, whose code here only starts kernels; the device's stays at -O3.
            *("-std=c++20", "-O1", "-Xcompiler=-fPIC,-fvisibility=hidden", "--cudart=static"),
            *("-DUSE_CUDA", TORCH_TARGET, "-isystem", str(self.torch_root / "include")),
            *self.nvcc.code_flags(),
        ]

    def link_flags(self) -> list[str]:
        library = str(self.torch_root / "lib")
        if sys.platform == "darwin":
            return ["-shared", "-undefined", "dynamic_lookup"]
        # The stream's symbol lives in libtorch_cuda, which only libtorch refers to.
        return ["-shared", f"-L{library}", "-Wl,--no-as-needed", "-ltorch", "-ltorch_cpu"]

    def compile_edge(self, source: Path, target: Path) -> list[str]:
        if source.suffix == ".cu":
            return [f"build {target}: nvcc {source}"]
        extra = []
        if source.stem == "build_info":
            extra = self.definitions()
        elif source.stem.startswith("rows_"):
            extra = ["-ffp-contract=fast"]
            if self.instruction_sets():
                extra += INSTRUCTION_SETS.get(source.stem, [])
        return [f"build {target}: cxx {source}", f"  extra = {ninja_quote(extra)}"]

    def ninja_text(self, folder: Path) -> str:
        lines = [
            f"cxx = {ninja_quote(self.cxx())}",
            f"cxx_flags = {ninja_quote(self.cxx_flags())}",
            f"link_flags = {ninja_quote(self.link_flags())}",
            "rule cxx",
            "  command = $cxx $cxx_flags $extra -MMD -MF $out.d -c $in -o $out",
            "  depfile = $out.d",
            "  deps = gcc",
            "rule link",
            "  command = $cxx $in $link_flags $extra -o $out",
        ]
        if self.cuda_is_built:
            lines += [
                f"nvcc = {ninja_quote([str(self.nvcc.path)])}",
                f"nvcc_flags = {ninja_quote(self.nvcc_flags())}",
                "rule nvcc",
                "  command = $nvcc $nvcc_flags -MD -MF $out.d -c $in -o $out",
                "  depfile = $out.d",
                "  deps = gcc",
            ]
        root = Path.cwd()
        # ninja starts what it can in this order: CUDA and rows_*, which take longest, come first.
        for extension in reversed(self.extensions):
            objects = []
            for name in sorted(extension.sources, key=lambda name: "rows_" not in name):
                source = root / name
                if source.stem in INSTRUCTION_SETS and not self.instruction_sets():
                    continue
                target = folder / Path(name).with_suffix(".o")
                lines += self.compile_edge(source, target)
                objects.append(str(target))
            extra = shlex.split(os.environ.get("LDFLAGS", ""))
            if extension.name == CUDA_LIBRARY:
                extra = [f"-L{self.nvcc.library_folder()}", "-lcudart_static", "-ldl", "-lrt"]
            output = Path(self.get_ext_fullpath(extension.name)).resolve()
            lines.append(f"build {output}: link {' '.join(objects)}")
            lines.append(f"  extra = {ninja_quote(extra)}")
        return "\n".join(lines) + "\n"


class AnyPythonWheel(bdist_wheel):
    """Tags the wheel for its platform and any Python 3."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


def ninja_quote(words: list[str]) -> str:
    return " ".join(shlex.quote(word) for word in words).replace("$", "$$")
