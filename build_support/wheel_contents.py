"""What a wheel of the operators must hold, and must not."""

import re
import zipfile
from pathlib import Path

OWN = ("ksdiff_ops/", "ksdiff_ops-")  # the package, and the folder of its metadata
NEEDED = ("ksdiff_ops/__init__.py", "ksdiff_ops/py.typed", "ksdiff_ops/_C.so")
REQUIRES = ["torch>=2.10"]


def problems(wheel: Path) -> list[str]:
    """One sentence for everything that is wrong with `wheel`; none if it can be released."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = _one_of(archive, "METADATA")
        tags = re.findall(r"^Tag: (.+)$", _one_of(archive, "WHEEL"), re.MULTILINE)
    found = [f"{name} is missing" for name in NEEDED if name not in names]
    strange = sorted({name for name in names if not name.startswith(OWN)})
    if strange:
        found.append(f"it holds what is not the operators': {', '.join(strange)}")
    required = re.findall(r"^Requires-Dist: ((?!.*extra ==).+)$", metadata, re.MULTILINE)
    if required != REQUIRES:
        found.append(f"it requires {', '.join(required) or 'nothing'}, not {', '.join(REQUIRES)}")
    narrow = [tag for tag in tags if not tag.startswith("py3-none-")]
    if narrow:
        found.append(f"it is for {', '.join(narrow)}, not for every Python (py3-none)")
    return found


def _one_of(archive: zipfile.ZipFile, name: str) -> str:
    (path,) = [n for n in archive.namelist() if n.endswith(f".dist-info/{name}")]
    return archive.read(path).decode()
