"""Shows that one wheel serves several PyTorch versions: builds it, installs it beside each of them
and runs the operators' CPU tests on what was installed.

    python build_support/check_wheel.py [--wheel FILE] [--torch 2.10.0 2.13.0 newest] [--no-deps]

Prints a Markdown table. `newest` is what pip finds when no version is asked for. It needs what a
build needs (with --wheel, nothing but Python and pip) and, for a CUDA build of PyTorch, 8 GB of
temporary disk, one version at a time; --no-deps leaves CUDA's own packages out, which builds of
PyTorch for the CPU do not need. A version that cannot be installed is told at the end, and the
others are still run. The exit status is 0 if all tests passed everywhere.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
NEWEST = "newest"
VERSIONS = ("2.10.0", "2.13.0", NEWEST)  # the oldest supported, that of CI, the newest there is
TORCH_NEEDS = ("filelock", "typing-extensions", "sympy", "networkx", "jinja2", "fsspec")
TEST_NEEDS = ("numpy", "setuptools", "pytest", "hypothesis", "tensorly")
# They look at the source tree, or need a GPU or its compiler.
LEFT_OUT = ("test_native_build.py", "test_cuda_*", "test_gpu.py", "*triton*", "__pycache__")
WHAT_WAS_LOADED = (
    "import json, torch, ksdiff_ops; from ksdiff_ops import native; "
    "print(json.dumps([torch.__version__, ksdiff_ops.__file__, native.module._name]))"
)


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


def check(version: str, wheel: Path, folder: Path, with_dependencies: bool) -> dict:
    """What came of the tests under one PyTorch, installed in a fresh environment in `folder`."""
    run(sys.executable, "-m", "venv", folder / "venv")
    python = folder / "venv/bin/python"
    pip = (python, "-m", "pip", "install", "--no-cache-dir", "--disable-pip-version-check")
    wanted = "torch" if version == NEWEST else f"torch=={version}"
    if with_dependencies:
        run(*pip, wanted)
    else:
        run(*pip, "--no-deps", wanted)
        run(*pip, *TORCH_NEEDS)
    run(*pip, *TEST_NEEDS)
    run(*pip, "--no-deps", wheel)
    shutil.copytree(ROOT / "tests/ops", folder / "tests", ignore=shutil.ignore_patterns(*LEFT_OUT))
    torch, package, library = json.loads(run(python, "-c", WHAT_WAS_LOADED, folder=folder))
    if not Path(package).is_relative_to(folder):
        raise Failed(f"ksdiff_ops came from {package}, not from the wheel")
    started = time.monotonic()
    tests = (python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junit-xml=junit.xml")
    done = subprocess.run([*tests, "tests"], cwd=folder, capture_output=True, text=True)
    if not (folder / "junit.xml").exists():
        raise Failed(f"pytest ended early, status {done.returncode}:\n{done.stdout[-8000:]}")
    suite = ElementTree.parse(folder / "junit.xml").getroot().find("testsuite")
    count = {name: int(suite.get(name)) for name in ("tests", "failures", "errors", "skipped")}
    return {
        "torch": torch,
        "library": library_digest(Path(library).read_bytes()),
        "seconds": time.monotonic() - started,
        "output": "" if done.returncode == 0 else done.stdout[-8000:],
        **count,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", type=Path, help="a built wheel; by default one is built")
    parser.add_argument("--torch", nargs="+", default=VERSIONS, metavar="VERSION")
    parser.add_argument("--no-deps", action="store_true", help="leave out CUDA's own packages")
    options = parser.parse_args()
    results, problems = [], []
    with tempfile.TemporaryDirectory(prefix="check_wheel_") as name:
        wheel = options.wheel or build_wheel(Path(name))
        digest = built_library(wheel)
        print(f"{wheel.name}, library {digest}\n", flush=True)
        print(
            "| PyTorch | library | passed | failed | skipped | seconds |\n|---|---|---|---|---|---|"
        )
        for version in options.torch:
            folder = Path(name, version)
            folder.mkdir()
            try:
                result = check(version, wheel, folder.resolve(), not options.no_deps)
            except Failed as problem:
                problems.append((version, problem))
                continue
            finally:
                shutil.rmtree(folder)
            failed = result["failures"] + result["errors"]
            passed = result["tests"] - failed - result["skipped"]
            print(
                f"| {result['torch']} | {result['library']} | {passed} | {failed} "
                f"| {result['skipped']} | {result['seconds']:.0f} |",
                flush=True,
            )
            results.append(result)
        rebuilt = [r["torch"] for r in results if r["library"] != digest]
    problems += [(result["torch"], result["output"]) for result in results if result["output"]]
    for version, problem in problems:
        print(f"\nPyTorch {version}:\n{problem}")
    if rebuilt:
        print(f"another library than the wheel's was loaded under {', '.join(rebuilt)}")
    return 1 if rebuilt or problems else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as problem:
        sys.exit(str(problem))
