"""Finds an installed PyTorch without importing it, even from an isolated build.

The compiled libraries need PyTorch's headers and nothing of its version: they are built against
its stable ABI. So whatever PyTorch is installed will do, and none has to be downloaded beside it.
"""

import os
import re
import site
import sys
import sysconfig
from pathlib import Path

OLDEST = (2, 10)  # torch::stable::parallel_for appeared there
PINNED = "torch==2.13.0"  # what an isolated build downloads where no PyTorch is installed


def _site_packages() -> list[Path]:
    paths = [*sys.path, sysconfig.get_path("platlib"), sysconfig.get_path("purelib")]
    # Isolated builds hide the environment they were started from, but leave its name.
    if environment := os.environ.get("VIRTUAL_ENV"):
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        paths.append(os.path.join(environment, "lib", version, "site-packages"))
    if hasattr(site, "getsitepackages"):
        paths += [*site.getsitepackages(), site.getusersitepackages()]
    return [Path(path) for path in dict.fromkeys(paths) if path]


def _version(root: Path) -> str | None:
    try:
        text = (root / "version.py").read_text()
    except OSError:
        return None
    found = re.search(r"__version__ = '([^']+)'", text)
    return found.group(1) if found else None


def find_torch() -> tuple[Path, str] | None:
    """Folder and version of the first PyTorch that is new enough and has its headers."""
    for folder in _site_packages():
        root = folder / "torch"
        version = _version(root)
        if version is None or not (root / "include/torch/csrc/stable").is_dir():
            continue
        if tuple(int(part) for part in version.split(".")[:2]) >= OLDEST:
            return root, version
    return None
