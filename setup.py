"""What pyproject.toml cannot say: where `ksdiff` takes the operators from.

`ksdiff` is pure Python and depends on the distribution `ksdiff-ops`, which ops/ builds.
KSDIFF_OPS_FROM says from where:

    folder: this checkout's ops/, the default where there is one
    index: the release of the same version; the default of a source distribution
    tree: nowhere, ksdiff_ops is installed from this tree too, its libraries compiled in place;
        what an editable installation and `python setup.py build_ext --inplace` do
"""

import os
import sys
from pathlib import Path

from setuptools import Distribution, setup

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "build_support"))

from native_build import NinjaBuildExt, native_extensions  # noqa: E402


def operators_from() -> str:
    if "build_ext" in sys.argv:
        return "tree"
    if "sdist" in sys.argv or not (ROOT / "ops").is_dir():
        return "index"
    asked = os.environ.get("KSDIFF_OPS_FROM", "folder")
    if asked not in ("folder", "index", "tree"):
        raise SystemExit(f"KSDIFF_OPS_FROM: expected folder, index or tree, got {asked!r}")
    return asked


class KSDiff(Distribution):
    """The distribution of pyproject.toml, which is written as of a release."""

    def parse_config_files(self, *args, **options) -> None:
        super().parse_config_files(*args, **options)
        origin = operators_from()
        if origin != "tree":
            self.packages = [name for name in self.packages if not name.startswith("ksdiff_ops")]
        if origin != "index":
            release = next(need for need in self.install_requires if need.startswith("ksdiff-ops"))
            needs = [need for need in self.install_requires if need != release]
            if origin == "folder":
                needs.insert(0, f"ksdiff-ops @ {(ROOT / 'ops').as_uri()}")
            self.install_requires = self.metadata.install_requires = needs


compiled = {"ext_modules": native_extensions(ROOT), "cmdclass": {"build_ext": NinjaBuildExt}}
setup(distclass=KSDiff, **(compiled if operators_from() == "tree" else {}))
