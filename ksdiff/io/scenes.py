"""Folders of scenes: NAME_pan.tif, NAME_ms.tif and, where there is truth, NAME_gt.tif.

Endings in any case, .tif or .tiff.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from ksdiff.errors import KSDiffError


@dataclass(frozen=True)
class SceneFiles:
    """One scene of a folder of NAME_pan.tif, NAME_ms.tif and, where there is truth, NAME_gt.tif."""

    name: str
    pan: Path
    ms: Path
    gt: Path | None
    sensor: str | None  # as scenes.json says, if there is one


def list_scenes(folder: str | Path) -> list[SceneFiles]:
    """The scenes of a folder, by name. ``scenes.json``, if present, names their sensors.

    Raises:
        KSDiffError: no such folder, no scene in it, a PAN without its MS, a bad scenes.json.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise KSDiffError(f"{folder}: there is no such folder")
    sensors = _sensors(folder / "scenes.json")
    scenes = []
    parts = _parts(folder)
    for (name, part), pan in sorted(parts.items()):
        if part != "pan":
            continue
        ms = parts.get((name, "ms"))
        if ms is None:
            raise KSDiffError(f"{pan}: its multispectral image {name}_ms{pan.suffix} is missing")
        scenes.append(SceneFiles(name, pan, ms, parts.get((name, "gt")), sensors.get(name)))
    if not scenes:
        raise KSDiffError(f"{folder}: expected files NAME_pan.tif and NAME_ms.tif, found none")
    return scenes


def _parts(folder: Path) -> dict[tuple[str, str], Path]:
    """The images of a folder by scene and part: pan, ms or gt."""
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.iterdir()):
        match = re.fullmatch(r"(.+)_(pan|ms|gt)\.tiff?", path.name, re.IGNORECASE)
        if match is None:
            continue
        key = match[1], match[2].lower()
        if key in found:
            raise KSDiffError(f"{path}: {found[key].name} is the same image of the same scene")
        found[key] = path
    return found


def _sensors(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    try:
        entries = json.loads(path.read_text())
        return {entry["name"]: entry["sensor"] for entry in entries if entry.get("sensor")}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise KSDiffError(
            f"{path}: expected a list of objects with name and sensor: {error!r}"
        ) from None
