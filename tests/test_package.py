"""The package as a whole: what is shipped, what imports what, what must not be in it."""

import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BACKEND = "import sys; sys.path.insert(0, 'build_support'); import backend; "

ALLOWED_HOSTS = {"arxiv.org", "keepachangelog.com", "semver.org", "www.apache.org"}


def tracked() -> list[Path]:
    """The files of the repository, those not yet added included; of an unpacked sdist, all."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so there is no list of the project's files")
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in names.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """A clean copy of the tree: building leaves files behind."""
    target = tmp_path_factory.mktemp("tree")
    for path in tracked():
        place = target / path.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place)
    return target


def run_backend(tree: Path, call: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"{BACKEND}print('RESULT', {call})"],
        cwd=tree,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))[7:]


def test_the_sdist_holds_all_that_a_build_needs(copy, tmp_path):
    name = run_backend(copy, f"backend.build_sdist({str(tmp_path)!r})")
    with tarfile.open(tmp_path / name) as archive:
        held = {member.partition("/")[2] for member in archive.getnames()}
    needed = ("csrc", "build_support", "ksdiff", "ksdiff_ops", "tests", "benchmarks")
    needed += ("docs", "examples")
    missing = [
        str(path)
        for path in (path.relative_to(ROOT) for path in tracked())
        if path.parts[0] in needed and str(path) not in held
    ]
    assert not missing
    beside = {"setup.py", "pyproject.toml", "LICENSE", "README.md", "CHANGELOG.md", "Makefile"}
    assert beside | {"conftest.py"} <= held


def test_an_installed_package_holds_modules_weights_and_configs_but_no_tests(copy, tmp_path):
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path)]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    built = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    expected = {
        str(path.relative_to(ROOT))
        for path in tracked()
        if path.relative_to(ROOT).parts[0] in ("ksdiff", "ksdiff_ops")
    }
    assert built == expected


def test_the_wheel_metadata_names_the_package(copy, tmp_path):
    folder = run_backend(copy, f"backend.prepare_metadata_for_build_wheel({str(tmp_path)!r})")
    metadata = (tmp_path / folder / "METADATA").read_text()
    assert "\nName: ksdiff\n" in metadata
    assert "\nRequires-Python: >=3.10\n" in metadata
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert "\nRequires-Dist: torch>=2.10\n" in metadata
    assert not re.search(r"^Requires-Dist: (?!.*extra ==)triton", metadata, re.MULTILINE)
    assert "ksdiff = ksdiff.cli:main" in (tmp_path / folder / "entry_points.txt").read_text()


def test_make_installs_what_the_build_system_requires():
    required = re.search(r"^requires = \[(.*)\]$", (ROOT / "pyproject.toml").read_text(), re.M)
    in_make = re.search(r"^BUILD_NEEDS := (.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert re.findall(r'"(.+?)"', required.group(1)) == re.findall(r"'(.+?)'", in_make.group(1))


@pytest.mark.parametrize(
    "module, strangers",
    [
        ("ksdiff_ops", ("ksdiff", "rasterio", "h5py", "triton", "matplotlib", "lightning_fabric")),
        ("ksdiff.models.ksdiff", ("rasterio", "h5py", "matplotlib", "lightning_fabric")),
        ("ksdiff.cli", ("torch", "rasterio", "matplotlib")),
    ],
)
def test_an_import_stays_light(module, strangers):
    """A machine that only runs networks needs no GDAL, and --help must answer at once."""
    code = (
        f"import sys, {module}; "
        f"print([n for n in {strangers!r} if n in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip().splitlines()[-1] == "[]"


def test_no_file_names_a_private_path_or_a_strange_host():
    private = re.compile(rb"(?<![\w.\]}/-])/(?:home|root|work|Users|mnt)/[\w.-]+")
    host = re.compile(rb"https?://([\w.-]+)")
    for path in tracked():
        content = path.read_bytes()
        if path.suffix == ".safetensors":
            content = content[: 8 + int.from_bytes(content[:8], "little")]
        found = private.search(content)
        assert not found, f"{path}: {found.group().decode()}"
        strange = {name.decode() for name in host.findall(content)} - ALLOWED_HOSTS
        assert not strange, f"{path}: {strange}"


def test_no_weights_file_is_larger_than_ten_megabytes():
    sizes = {path.name: path.stat().st_size for path in tracked()}
    assert not {name: size for name, size in sizes.items() if size > 10 * 2**20}
