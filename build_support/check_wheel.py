"""Shows that one wheel of the operators serves every Python and several versions of PyTorch.

    python build_support/check_wheel.py [--wheel FILE] [--quick] [--no-deps]
        [--python python3.10 python3.13 ...] [--torch 2.10.0 2.13.0 newest]

Looks into the wheel (`wheel_contents.py`). Then, for every Python and every PyTorch, makes an
environment, installs PyTorch and the wheel, lists what the wheel brought beside PyTorch, calls each
operator and runs the pages' examples (`first_calls.py`) and, unless --quick, the operators' CPU
tests.

Prints a Markdown table. By default the Python is the one that runs this, and a wheel is built.
`newest` is the PyTorch that pip finds when no version is asked for. It needs what a build needs
(with --wheel, nothing but Python and pip) and, for a CUDA build of PyTorch, 8 GB of temporary
disk, one environment at a time; --no-deps leaves CUDA's own packages out, which builds of PyTorch
for the CPU do not need. An environment that fails is told at the end, and the others are still
run. The exit status is 0 if all is well everywhere.
"""

import argparse
import hashlib
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import wheel_contents

ROOT = Path(__file__).resolve().parents[1]
NEWEST = "newest"
VERSIONS = ("2.10.0", "2.13.0", NEWEST)  # the oldest supported, that of CI, the newest there is
TORCH_NEEDS = ("filelock", "typing-extensions", "sympy", "networkx", "jinja2", "fsspec")
TEST_NEEDS = ("numpy", "setuptools", "pytest", "hypothesis", "tensorly")
PAGES = (ROOT / "ops/README.md", ROOT / "docs/operators.md")
# They look at the source tree, or need a GPU or its compiler.
LEFT_OUT = (
    *("test_native_build.py", "test_imports.py"),
    *("test_cuda_*", "test_gpu.py", "*triton*", "__pycache__"),
)
COUNTS = ("passed", "failed", "skipped")
COLUMNS = ("Python", "PyTorch", "library", "beside PyTorch", *COUNTS, "seconds")


class Failed(Exception):
    """A command that did not work out, with the end of what it said."""


def run(*command: object, folder: Path | None = None) -> str:
    done = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True)
    if done.returncode != 0:
        text = (done.stdout + done.stderr).decode(errors="replace")
        raise Failed(f"{' '.join(map(str, command))} failed:\n{text[-4000:]}")
    return done.stdout.decode()


def build_wheel(folder: Path) -> Path:
    """From an sdist, so that nothing of the working tree's build folder gets in."""
    code = (
        "import sys; sys.path.insert(0, 'build_support'); import backend; "
        f"backend.build_sdist({str(folder)!r})"
    )
    run(sys.executable, "-c", code, folder=ROOT / "ops")
    (archive,) = folder.glob("*.tar.gz")
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation")
    run(*pip, "-w", folder, archive)
    (wheel,) = folder.glob("*.whl")
    return wheel


def library_digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def built_library(wheel: Path) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.startswith("ksdiff_ops/_C.")]
        return library_digest(archive.read(name))


class Environment:
    """A new virtual environment in a folder."""

    def __init__(self, interpreter: str, folder: Path) -> None:
        run(interpreter, "-m", "venv", folder / "venv")
        self.folder = folder
        self.python = folder / "venv/bin/python"

    def install(self, *what: object) -> None:
        pip = (self.python, "-m", "pip", "install", "--no-cache-dir", "--disable-pip-version-check")
        run(*pip, *what)

    def install_torch(self, version: str, with_dependencies: bool) -> None:
        wanted = "torch" if version == NEWEST else f"torch=={version}"
        if with_dependencies:
            self.install(wanted)
        else:
            self.install("--no-deps", wanted)
            self.install(*TORCH_NEEDS)

    def packages(self) -> set[str]:
        listed = run(self.python, "-m", "pip", "list", "--format", "json", folder=self.folder)
        return {package["name"] for package in json.loads(listed)}

    def first_calls(self) -> dict:
        script = Path(__file__).with_name("first_calls.py")
        told = json.loads(run(self.python, "-I", script, *PAGES, folder=self.folder))
        if not Path(told["package"]).is_relative_to(self.folder):
            raise Failed(f"ksdiff_ops came from {told['package']}, not from the wheel")
        return told

    def test(self) -> dict:
        """How many of the operators' tests passed, and what pytest said if some did not."""
        self.install(*TEST_NEEDS)
        ignored = shutil.ignore_patterns(*LEFT_OUT)
        shutil.copytree(ROOT / "tests/ops", self.folder / "tests", ignore=ignored)
        tests = (self.python, "-m", "pytest", "-q", "-p", "no:cacheprovider")
        command = [*tests, "--junit-xml=junit.xml", "tests"]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
        if not (self.folder / "junit.xml").exists():
            raise Failed(f"pytest ended early, status {done.returncode}:\n{done.stdout[-8000:]}")
        suite = ElementTree.parse(self.folder / "junit.xml").getroot().find("testsuite")
        count = {name: int(suite.get(name)) for name in ("tests", "failures", "errors", "skipped")}
        failed = count["failures"] + count["errors"]
        passed = count["tests"] - failed - count["skipped"]
        return {
            **dict(zip(COUNTS, (passed, failed, count["skipped"]), strict=True)),
            "output": "" if done.returncode == 0 else done.stdout[-8000:],
        }


def check(
    interpreter: str, torch: str, wheel: Path, folder: Path, *, deps: bool, tests: bool
) -> dict:
    """The table's row of one Python and one PyTorch; `output` is what went wrong, or empty."""
    environment = Environment(interpreter, folder)
    environment.install_torch(torch, deps)
    before = environment.packages()
    environment.install(*(() if deps else ("--no-deps",)), wheel.resolve())
    brought = sorted(environment.packages() - before - {"ksdiff-ops"})
    started = time.monotonic()
    told = environment.first_calls()
    row = environment.test() if tests else {**dict.fromkeys(COUNTS, ""), "output": ""}
    if brought:
        row["output"] += f"\nthe wheel brought {', '.join(brought)} beside PyTorch"
    return row | {
        "Python": told["python"],
        "PyTorch": told["torch"],
        "library": library_digest(Path(told["library"]).read_bytes()),
        "beside PyTorch": ", ".join(brought) or "nothing",
        "seconds": f"{time.monotonic() - started:.0f}",
    }


def check_all(options: argparse.Namespace, wheel: Path, scratch: Path) -> list[tuple[str, str]]:
    """Prints the table; returns what went wrong, and where."""
    digest = built_library(wheel)
    problems = [(wheel.name, text) for text in wheel_contents.problems(wheel)]
    print(f"{wheel.name}, {wheel.stat().st_size / 1e6:.1f} MB, library {digest}\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    how = {"deps": not options.no_deps, "tests": not options.quick}
    for python, torch in itertools.product(options.python, options.torch):
        where = f"{python}, PyTorch {torch}"
        folder = scratch / "environment"
        folder.mkdir()
        try:
            row = check(python, torch, wheel, folder, **how)
        except Failed as problem:
            problems.append((where, str(problem)))
            continue
        finally:
            shutil.rmtree(folder)
        print(f"| {' | '.join(str(row[column]) for column in COLUMNS)} |", flush=True)
        if row["output"]:
            problems.append((where, row["output"]))
        if row["library"] != digest:
            problems.append((where, "another library than the wheel's was loaded"))
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", type=Path, help="a built wheel; by default one is built")
    parser.add_argument("--python", nargs="+", default=[sys.executable], metavar="PYTHON")
    parser.add_argument("--torch", nargs="+", default=VERSIONS, metavar="VERSION")
    parser.add_argument("--no-deps", action="store_true", help="leave out CUDA's own packages")
    parser.add_argument("--quick", action="store_true", help="leave the operators' tests out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="check_wheel_") as name:
        scratch = Path(name).resolve()
        problems = check_all(options, options.wheel or build_wheel(scratch), scratch)
    for where, problem in problems:
        print(f"\n{where}:\n{problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as problem:
        sys.exit(str(problem))
