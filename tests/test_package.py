"""The package as a whole: what is shipped, what imports what, what must not be in it."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import ksdiff

ROOT = Path(__file__).resolve().parents[1]

ALLOWED_HOSTS = {
    *("arxiv.org", "keepachangelog.com", "semver.org", "www.apache.org"),
    *("www.opengis.net", "www.w3.org", "stac-extensions.github.io"),  # name standards
    # The tests' own server, and what stands for any.
    *("127.0.0.1", "example.org", "a.example.org", "HOST", "user", "..."),
}


def tracked() -> list[Path]:
    """The files of the repository, those not yet added included; of an unpacked sdist, all."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so there is no list of the project's files")
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [ROOT / name for name in names.split("\0") if name]
    return [path for path in paths if path.is_file()]


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """A clean copy of the tree: building leaves files behind."""
    target = tmp_path_factory.mktemp("tree")
    for path in tracked():
        place = target / path.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place, follow_symlinks=False)
    for path in (ROOT / "ops").iterdir():
        if path.is_symlink() and path.is_dir():
            (target / "ops" / path.name).symlink_to(path.readlink())
    return target


def run_backend(tree: Path, call: str, **environment: str) -> str:
    """The result of a hook of the build backend that `tree` names in its pyproject.toml."""
    name = re.search(r"build-backend = \"(.+)\"", (tree / "pyproject.toml").read_text())[1]
    code = "import sys; sys.path.insert(0, 'build_support'); "
    done = subprocess.run(
        [sys.executable, "-c", f"{code}import {name} as backend; print('RESULT', {call})"],
        cwd=tree,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))[7:]


def sdist(tree: Path, folder: Path) -> set[str]:
    name = run_backend(tree, f"backend.build_sdist({str(folder)!r})")
    with tarfile.open(folder / name) as archive:
        return {member.partition("/")[2] for member in archive.getnames()}


def tracked_in(*folders: str) -> set[str]:
    paths = [path.relative_to(ROOT) for path in tracked()]
    return {str(path) for path in paths if path.parts[0] in folders}


def test_the_sdist_holds_the_tree(copy, tmp_path):
    held = sdist(copy, tmp_path)
    needed = ("csrc", "build_support", "ksdiff", "ksdiff_ops", "tests", "benchmarks")
    missing = tracked_in(*needed, "docs", "examples", "integrations") - held
    assert not missing
    beside = {"setup.py", "pyproject.toml", "LICENSE", "README.md", "CHANGELOG.md", "Makefile"}
    assert beside | {"conftest.py", "CITATION.cff"} <= held


def test_the_sdist_of_the_operators_holds_them_and_nothing_of_ksdiff(copy, tmp_path):
    held = sdist(copy / "ops", tmp_path)
    missing = tracked_in("csrc", "build_support", "ksdiff_ops") - held
    assert not missing
    assert {"setup.py", "pyproject.toml", "LICENSE", "README.md"} <= held
    assert not [name for name in held if name.startswith("ksdiff/")]


@pytest.mark.parametrize(("tree", "package"), [(".", "ksdiff"), ("ops", "ksdiff_ops")])
def test_an_installed_package_holds_its_modules_and_data_and_no_tests(
    copy, tmp_path, tree, package
):
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path)]
    done = subprocess.run(command, cwd=copy / tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    built = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert built == tracked_in(package)
    assert f"{package}/py.typed" in built


def metadata(tree: Path, folder: Path, hook: str = "wheel", **environment: str) -> str:
    call = f"backend.prepare_metadata_for_build_{hook}({str(folder)!r})"
    return (folder / run_backend(tree, call, **environment) / "METADATA").read_text()


def test_the_metadata_of_the_operators_ask_for_pytorch_alone(copy, tmp_path):
    text = metadata(copy / "ops", tmp_path)
    assert "\nName: ksdiff-ops\n" in text
    needs = re.findall(r"^Requires-Dist: (.*)$", text, re.MULTILINE)
    assert [need for need in needs if "extra ==" not in need] == ["torch>=2.10"]


@pytest.mark.parametrize(
    ("hook", "origin", "expected"),
    [
        ("wheel", None, "ksdiff-ops @ {ops}"),
        ("wheel", "index", "ksdiff-ops=={version}"),
        ("editable", None, None),  # the tree itself
    ],
)
def test_ksdiff_depends_on_the_operators_of_its_own_version(copy, tmp_path, hook, origin, expected):
    environment = {} if origin is None else {"KSDIFF_OPS_FROM": origin}
    text = metadata(copy, tmp_path, hook, **environment)
    assert "\nName: ksdiff\n" in text
    assert "\nRequires-Python: >=3.10\n" in text
    assert "\nLicense-Expression: Apache-2.0\n" in text
    assert "\nRequires-Dist: torch>=2.10\n" in text
    assert not re.search(r"^Requires-Dist: (?!.*extra ==)triton", text, re.MULTILINE)
    version = re.search(r"^Version: (.*)$", text, re.MULTILINE).group(1)
    found = re.findall(r"^Requires-Dist: (ksdiff-ops.*)$", text, re.MULTILINE)
    named = expected and expected.format(ops=(copy / "ops").as_uri(), version=version)
    assert found == ([named] if named else [])


def test_an_unknown_origin_of_the_operators_is_an_error(copy):
    done = subprocess.run(
        [sys.executable, "setup.py", "--version"],
        cwd=copy,
        capture_output=True,
        text=True,
        env={**os.environ, "KSDIFF_OPS_FROM": "net"},
    )
    assert done.returncode != 0
    assert "KSDIFF_OPS_FROM: expected folder, index or tree, got 'net'" in done.stderr


def test_both_distributions_have_one_version():
    versions = {
        re.search(r'^version = "(.+)"$', (ROOT / name).read_text(), re.MULTILINE).group(1)
        for name in ("pyproject.toml", "ops/pyproject.toml")
    }
    pinned = re.search(r'"ksdiff-ops==(.+)"', (ROOT / "pyproject.toml").read_text()).group(1)
    assert versions == {pinned}


def test_make_installs_what_the_build_system_requires():
    in_make = re.search(r"^BUILD_NEEDS := (.*)$", (ROOT / "Makefile").read_text(), re.M)
    for name in ("pyproject.toml", "ops/pyproject.toml"):
        required = re.search(r"^requires = \[(.*)\]$", (ROOT / name).read_text(), re.M)
        assert re.findall(r'"(.+?)"', required[1]) == re.findall(r"'(.+?)'", in_make[1])


@pytest.mark.parametrize(
    "module, strangers",
    [
        ("ksdiff_ops", ("ksdiff", "triton", "rasterio", "h5py", "matplotlib", "lightning_fabric")),
        ("ksdiff.models.ksdiff", ("rasterio", "h5py", "matplotlib", "lightning_fabric")),
        (
            "ksdiff.cli",
            (
                *("torch", "rasterio", "matplotlib", "scipy"),
                *("dask", "distributed", "xarray", "rioxarray", "pystac", "fastapi", "uvicorn"),
            ),
        ),
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


def test_the_public_names_are_listed():
    assert set(ksdiff.__all__) <= set(dir(ksdiff))
    assert all(hasattr(ksdiff, name) for name in ksdiff.__all__)
