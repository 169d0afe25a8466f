"""Make the zip by which QGIS installs the plugin; the same tree gives the same bytes.

    python integrations/qgis/package.py [--out dist] [--publish]

It is checked as the plugin repository checks uploads. --publish refuses addresses that stand for
others, too: those of the repository, of its issues and of the author in metadata.txt.
"""

from __future__ import annotations

import argparse
import configparser
import re
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PLUGIN = HERE / "ksdiff"
_SHIPPED = (".py", ".txt", ".svg")
_REQUIRED = (
    *("name", "description", "version", "qgisMinimumVersion", "author", "email", "about"),
    *("tracker", "repository"),
)
_ADDRESSES = ("homepage", "tracker", "repository")
_TIME = (1980, 1, 1, 0, 0, 0)
_MOST_BYTES = 20_000_000


def build(out: Path, plugin: Path = PLUGIN, license: Path = ROOT / "LICENSE") -> Path:
    """Write the zip into a folder; return its path."""
    out.mkdir(parents=True, exist_ok=True)
    files = {
        path.relative_to(plugin).as_posix(): path
        for path in plugin.rglob("*")
        if path.is_file() and path.suffix in _SHIPPED and not path.name.startswith(".")
    }
    files["LICENSE"] = license
    version = metadata((plugin / "metadata.txt").read_text(encoding="utf-8"))["version"]
    target = out / f"{plugin.name}-qgis-{version}.zip"
    with zipfile.ZipFile(target, "w") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(f"{plugin.name}/{name}", _TIME)
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, files[name].read_bytes())
    return target


def metadata(text: str) -> dict[str, str]:
    """The fields of metadata.txt.

    Raises:
        configparser.Error: it is no such file.
    """
    parser = configparser.ConfigParser()
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(text)
    return dict(parser.items("general"))


def problems(path: Path, publish: bool = False) -> list[str]:
    """Why the plugin repository would refuse a zip; none where it would take it.

    Args:
        publish: refuse addresses at example.org, too.
    """
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        contents = {name: archive.read(name) for name in names if name.count("/") == 1}
    found = [f"{name}: {why}" for name in names for why in _unwanted(name)]
    folders = {name.partition("/")[0] for name in names}
    if len(folders) != 1:
        return [*found, f"expected one folder, got {', '.join(sorted(folders))}"]
    (folder,) = folders
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]+", folder):
        found.append(f"{folder}: a plugin's name has letters, digits, - and _, a letter first")
    if path.stat().st_size > _MOST_BYTES:
        found.append(f"{path.stat().st_size} bytes; {_MOST_BYTES} are the most")
    found += [
        f"{name} is missing"
        for name in ("__init__.py", "metadata.txt", "LICENSE")
        if f"{folder}/{name}" not in names
    ]
    if f"{folder}/metadata.txt" in names:
        text = contents[f"{folder}/metadata.txt"].decode("utf-8")
        try:
            fields = metadata(text)
        except configparser.Error as error:
            return [*found, f"metadata.txt: {error}"]
        found += [f"metadata.txt: {why}" for why in _wrong(fields, publish)]
        if "icon" in fields and f"{folder}/{fields['icon']}" not in names:
            found.append(f"metadata.txt: there is no icon {fields['icon']}")
    return found


def _unwanted(name: str) -> list[str]:
    parts = name.split("/")
    reasons = []
    if name.startswith("/") or ".." in parts:
        reasons.append("leads out of the folder")
    if any(part.startswith(".") and part != ".." for part in parts):
        reasons.append("is hidden")
    if "__pycache__" in parts or "__MACOSX" in parts or name.endswith((".pyc", ".pyo", ".so")):
        reasons.append("is compiled or made by a system")
    return reasons


def _wrong(fields: dict[str, str], publish: bool) -> list[str]:
    found = [f"{name} is missing" for name in _REQUIRED if not fields.get(name, "").strip()]
    minimum = fields.get("qgisMinimumVersion", "")
    if not re.fullmatch(r"3\.\d+(\.\d+)?", minimum):
        found.append(f"qgisMinimumVersion: expected a version such as 3.22, got {minimum!r}")
    if "/" in fields.get("author", ""):
        found.append("author: has a slash")
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.\w+", fields.get("email", "")):
        found.append(f"email: expected an address, got {fields.get('email')!r}")
    for name in _ADDRESSES:
        if name in fields and not re.match(r"https?://[^/\s.]+\.[^/\s]+", fields[name]):
            found.append(f"{name}: expected an address of the web, got {fields[name]!r}")
    if publish:
        found += [
            f"{name}: {fields[name]} stands for another address; write it there"
            for name in (*_ADDRESSES, "email")
            if "example.org" in fields.get(name, "")
        ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="default: dist")
    parser.add_argument("--publish", action="store_true", help="for the plugin repository")
    given = parser.parse_args()
    made = build(given.out)
    found = problems(made, given.publish)
    if found:
        made.unlink()
        sys.exit("\n".join(f"error: {why}" for why in found))
    print(made)


if __name__ == "__main__":
    main()
