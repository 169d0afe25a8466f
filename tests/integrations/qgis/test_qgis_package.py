"""The zip of the QGIS plugin is what the plugin repository takes."""

import ast
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

import ksdiff
from tests.support import ROOT
from tests.support.qgis import FOLDER, packaging

package = packaging()
NEEDS_QGIS = (
    *("algorithm", "batch", "evaluate", "layers", "parameters", "plugin", "provider", "sharpen"),
)


@pytest.fixture
def tree(tmp_path):
    """A copy of the plugin that may be changed."""
    return shutil.copytree(FOLDER / "ksdiff", tmp_path / "ksdiff")


def test_the_command_makes_the_same_good_zip_twice(tmp_path, tree):
    (tree / ".hidden.py").write_text("")
    (tree / "__pycache__").mkdir(exist_ok=True)
    (tree / "__pycache__" / "a.pyc").write_bytes(b"")
    again = package.build(tmp_path / "again", tree)
    script = [sys.executable, FOLDER / "package.py", "--out", tmp_path / "out"]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    made = tmp_path / "out" / f"ksdiff-qgis-{ksdiff.__version__}.zip"
    assert done.stdout.strip() == str(made)
    assert made.read_bytes() == again.read_bytes()
    assert package.problems(made) == []
    with zipfile.ZipFile(made) as archive:
        assert archive.testzip() is None
        assert archive.read("ksdiff/LICENSE") == (ROOT / "LICENSE").read_bytes()
        assert {name.partition("/")[0] for name in archive.namelist()} == {"ksdiff"}


def test_addresses_that_stand_for_others_are_not_published(tmp_path):
    found = package.problems(package.build(tmp_path), publish=True)
    assert [line.split(":")[1].strip() for line in found] == ["tracker", "repository", "email"]


@pytest.mark.parametrize(
    ("pattern", "replacement", "problem"),
    [
        (r"^about=.*\n(    .*\n)+", "", "about is missing"),
        (r"^version=.*", "version=", "version is missing"),
        (r"^qgisMinimumVersion=.*", "qgisMinimumVersion=new", "expected a version such as 3.22"),
        (r"^tracker=.*", "tracker=bugs", "tracker: expected an address"),
        (r"^email=.*", "email=me", "email: expected an address"),
        (r"^author=.*", "author=a/b", "author: has a slash"),
        (r"^icon=.*", "icon=no.svg", "there is no icon no.svg"),
        (r"^\[general\]", "[other]", "general"),
    ],
)
def test_bad_metadata_are_found(tmp_path, tree, pattern, replacement, problem):
    text = (tree / "metadata.txt").read_text()
    changed, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
    assert count == 1
    made = package.build(tmp_path, tree)
    bad = tmp_path / "bad.zip"
    with zipfile.ZipFile(made) as archive, zipfile.ZipFile(bad, "w") as other:
        for name in archive.namelist():
            new = changed if name.endswith("metadata.txt") else archive.read(name)
            other.writestr(name, new)
    assert any(problem in line for line in package.problems(bad))


@pytest.mark.parametrize(
    "names", [["ksdiff/.git/x"], ["ksdiff/a.pyc"], ["ksdiff/../x"], ["1ks/a"], ["a/b", "c/d"], []]
)
def test_files_that_do_not_belong_there_are_found(tmp_path, names):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        for name in names:
            archive.writestr(name, "")
    assert package.problems(tmp_path / "bad.zip")


def test_the_plugin_has_the_packages_version():
    fields = package.metadata((FOLDER / "ksdiff" / "metadata.txt").read_text())
    assert fields["version"] == ksdiff.__version__
    assert fields["hasProcessingProvider"] == "yes"


def test_only_what_must_imports_qgis_and_nothing_imports_what_qgis_lacks():
    allowed = {*sys.stdlib_module_names, "qgis", "processing", "osgeo"}
    for path in sorted((FOLDER / "ksdiff").glob("*.py")):
        names = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(node.module.partition(".")[0])
        assert names <= allowed, path
        if path.stem not in NEEDS_QGIS:
            assert names <= set(sys.stdlib_module_names), path
