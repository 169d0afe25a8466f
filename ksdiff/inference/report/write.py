"""Reports from open scenes and files."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from ksdiff.errors import KSDiffError
from ksdiff.inference.options import SharpenOptions
from ksdiff.inference.progress import Stage, silent
from ksdiff.inference.report.gather import Gathered
from ksdiff.inference.report.judge import judged
from ksdiff.inference.report.page import Content, page
from ksdiff.inference.report.told import decisions
from ksdiff.inference.scene import PreparedScene
from ksdiff.io.image import Image, open_dataset
from ksdiff.io.outputs import atomic
from ksdiff.io.provenance import said_of
from ksdiff.io.rasters import ScenePair

_NOTHING = "No pixel has data in both PAN and MS, so there is nothing to show."
_FUSED_EMPTY = "PAN and MS have data in common, but no pixel of the fused image has any."


def check_report(path: str | Path) -> None:
    """Raise KSDiffError unless ``path`` ends as a page does."""
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise KSDiffError(f"report {path}: expected a name that ends in .html")


def write_report(
    path: str | Path,
    pair: ScenePair,
    scene: PreparedScene | None,
    fused: str | Path,
    options: SharpenOptions,
    method: str,
    stage: Stage = silent,
) -> bool:
    """Write a report on a fused scene, atomically.

    Reads the three images once. A part of the scene is judged without truth, beside the classical
    methods.

    Args:
        path: HTML file to write; it holds all that it shows, in less than 15 MB.
        pair: as delivered.
        scene: prepared from it; None where it has no pixel with data.
        fused: raster on the grid of the scene.
        options: those it was made with.
        method: the weights or the classical method that made it.
        stage: progress callback.

    Returns:
        Whether there was anything to show; if not, the page says so.

    Raises:
        KSDiffError: ``fused`` does not belong to the pair, a file that cannot be read or written.
    """
    with closing(Image(open_dataset(fused, "fused"), "fused", str(fused))) as image:
        _check_fused(image, pair)
        said = said_of(image.dataset.tags())
        content = Content(
            title=Path(fused).name,
            facts=_facts(pair, image, said),
            decisions=(),
            notes=pair.notes,
            provenance=said,
            problem=_NOTHING,
        )
        if scene is not None:
            content = _content(content, pair, scene, image, options, method, stage)
    text = page(content)
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return content.problem is None


def _content(
    empty: Content,
    pair: ScenePair,
    scene: PreparedScene,
    fused: Image,
    options: SharpenOptions,
    method: str,
    stage: Stage,
) -> Content:
    gathered = Gathered.of(scene, fused, pair.descriptions, options.tile, options.together, stage)
    told = decisions(pair, scene, options, method, gathered.valid)
    if not gathered.valid:
        return replace(empty, decisions=told, problem=_FUSED_EMPTY)
    return replace(
        empty,
        decisions=told,
        problem=None,
        bands=_bands(pair, scene),
        ratio=pair.ratio,
        method=method,
        registration=scene.registration,
        gathered=gathered,
        judged=judged(scene, fused, method, options.together, stage),
    )


def _check_fused(fused: Image, pair: ScenePair) -> None:
    expected = (pair.bands, *pair.shape)
    got = (fused.count, *fused.shape)
    if got != expected:
        raise KSDiffError(
            f"fused {fused.name}: expected {_size(expected)}, which is what {pair.name} share, "
            f"got {_size(got)}; give --bands and --align as for sharpening"
        )
    if fused.georeferenced and pair.georeferenced:
        off = np.array((~pair.transform @ fused.dataset.transform)[:6]) - (1, 0, 0, 0, 1, 0)
        if np.abs(off).max() > 0.01:
            raise KSDiffError(
                f"fused {fused.name}: expected the pixel grid of PAN, cut to what {pair.name} "
                f"share, {tuple(pair.transform)[:6]}; got {tuple(fused.dataset.transform)[:6]}"
            )


def _size(size: tuple[int, ...]) -> str:
    return "{} bands of {} x {} pixels".format(*size)


def _facts(pair: ScenePair, fused: Image, said: Mapping | None) -> list[tuple[str, str]]:
    height, width = pair.shape
    pan, ms = pair.name.split(" and ", 1)
    facts = [
        ("PAN", pan),
        ("MS", ms),
        ("Fused", fused.name),
        ("Size", f"{pair.bands} bands of {height} x {width} pixels, {fused.dtype}"),
    ]
    if pair.georeferenced:
        across, down = abs(pair.transform.a), abs(pair.transform.e)
        facts.append(("Pixel", f"{across:g} x {down:g} in units of the grid"))
    if pair.crs:
        facts.append(("Reference system", pair.crs.to_string()[:80]))
    if said is not None and said.get("software"):
        facts.append(("Made by", str(said["software"])))
    return facts


def _bands(pair: ScenePair, scene: PreparedScene) -> list[tuple[str, float | None]]:
    names = [
        given or own for given, own in zip(pair.descriptions, scene.sensor.band_names, strict=True)
    ]
    if not scene.sensor.known:
        names = [given or f"band {index + 1}" for index, given in enumerate(pair.descriptions)]
    centres = [None if limits is None else sum(limits) / 2 for limits in scene.sensor.wavelengths]
    return list(zip(names, centres, strict=True))
