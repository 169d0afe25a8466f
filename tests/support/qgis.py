"""The QGIS plugin's modules that need no QGIS, under a name beside the package's own."""

import importlib
import importlib.util
import sys
from types import ModuleType

from tests.support import ROOT

FOLDER = ROOT / "integrations" / "qgis"
_NAME = "ksdiff_in_qgis"


def plugin(module: str) -> ModuleType:
    """A module of the plugin, which QGIS knows by the folder's name, ``ksdiff``."""
    if _NAME not in sys.modules:
        init = FOLDER / "ksdiff" / "__init__.py"
        spec = importlib.util.spec_from_file_location(
            _NAME, init, submodule_search_locations=[str(init.parent)]
        )
        sys.modules[_NAME] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[_NAME])
    return importlib.import_module(f"{_NAME}.{module}")


def packaging() -> ModuleType:
    """The script that makes the zip."""
    spec = importlib.util.spec_from_file_location("package_qgis", FOLDER / "package.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
