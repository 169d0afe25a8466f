"""Folders of scenes: NAME_pan.tif, NAME_ms.tif and, where there is truth, NAME_gt.tif."""

from __future__ import annotations

import json
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
    for pan in sorted(folder.glob("*_pan.tif")):
        name = pan.name.removesuffix("_pan.tif")
        ms, gt = folder / f"{name}_ms.tif", folder / f"{name}_gt.tif"
        if not ms.exists():
            raise KSDiffError(f"{pan}: its multispectral image {ms.name} is missing")
        scenes.append(SceneFiles(name, pan, ms, gt if gt.exists() else None, sensors.get(name)))
    if not scenes:
        raise KSDiffError(f"{folder}: expected files NAME_pan.tif and NAME_ms.tif, found none")
    return scenes


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
