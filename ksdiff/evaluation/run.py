"""Runs every method on every scene, with times and scores."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ksdiff.baselines import METHODS
from ksdiff.errors import KSDiffError
from ksdiff.evaluation.pictures import write_picture
from ksdiff.evaluation.report import Evaluation, Row, SceneInfo
from ksdiff.evaluation.scenes import Subject, subjects
from ksdiff.images.pair import ArrayPair
from ksdiff.inference.options import SharpenOptions
from ksdiff.inference.sharpen import Sharpener
from ksdiff.runtime import device_named, machine_header

KSDIFF = "ksdiff"
DEFAULT_METHODS = (*METHODS, KSDIFF)
DEFAULT_BORDER = 21
_LEAST_INSIDE = 32  # pixels: one block of Q2n

Weights = str | Path | nn.Module


def evaluate(
    source: str | Path,
    methods: Sequence[str] = DEFAULT_METHODS,
    *,
    weights: Weights | Sequence[Weights] | None = None,
    options: SharpenOptions | None = None,
    border: int = DEFAULT_BORDER,
    measured: bool = False,
    pictures: str | Path | None = None,
    step: Callable[[str, int, int], None] = lambda name, done, count: None,
    **changes: Any,
) -> Evaluation:
    """Score methods on every scene of a folder, or on every patch of a PanCollection file.

    With ground truth they get reduced-resolution indexes, without it full-resolution ones. See
    `ksdiff.evaluation.scenes.subjects` for phases and borders.

    Args:
        source: folder of NAME_pan.tif, NAME_ms.tif and maybe NAME_gt.tif and scenes.json; or an .h5
            file.
        methods: names from `ksdiff.baselines.METHODS`, and ``ksdiff``.
        weights: of ``ksdiff``, see `Sharpener`. Several give a method each, named by the file.
        options: of ``ksdiff``, see `Sharpener`. ``device`` also computes classical methods and
            indexes; ``sensor`` overrides scenes.json for all scenes, and an .h5 file needs it.
        border: pixels cut before reduced-resolution indexes, the toolbox's ``d``.
        measured: give classical methods KSDiff's own inputs, registered bands, registered PAN and
            measured MTF gains, instead of the delivered images and the sensor's gains. Without
            truth, all methods are compared with these images.
        pictures: folder for a PNG per scene; created if missing.
        step: called before each scene with its name, how many are done and how many there are.
        changes: fields of ``options`` that differ from it.

    Raises:
        KSDiffError: an unknown method, no scenes, pixels without data, a scene smaller than the
            border, no weights for any of the scenes, ``measured`` without ``registration``.
    """
    methods = _known(methods)
    options = replace(options or SharpenOptions(), **changes)
    if measured and options.registration == "off":
        raise KSDiffError(
            "measured: gives KSDiff's registration to all methods, but registration "
            "is off; leave one of them out"
        )
    networks = _networks(weights, options) if KSDIFF in methods else {}
    place = next(iter(networks.values())).device if networks else device_named(options.device)
    names = [n for m in methods for n in (networks if m == KSDIFF else (m,))]
    scenes: list[SceneInfo] = []
    rows: list[Row] = []
    notes: list[str] = []
    every = subjects(source, options.sensor)
    for read in every:
        subject = read.to(place)
        step(subject.info.name, len(scenes), len(every))
        _check_size(subject, border)
        scenes.append(subject.info)
        given = subject.measured() if measured else subject
        images = {}
        for row, fused in _scored(names, read, given, networks, border, notes):
            rows.append(row)
            if pictures is not None:
                images[row.method] = fused.cpu()
        if pictures is not None and images:
            write_picture(Path(pictures) / f"{subject.info.name}.png", read, images)
    for name in networks:
        if not any(row.method == name for row in rows):
            raise KSDiffError(next(note for note in notes if note.startswith(f"{name} left out")))
    settings = {
        "data": str(source),
        "border": border,
        "measured": measured,
        "registration": options.registration,
        "contrast": options.contrast,
        "pan_gain": options.pan_gain,
        "weights": {name: network.weights for name, network in networks.items()},
        "sensor": options.sensor,
        "seed": options.seed,
        "device": str(place),
    }
    return Evaluation(machine_header() | settings, scenes, rows, notes)


def _check_size(subject: Subject, border: int) -> None:
    info = subject.info
    if subject.truth is not None and min(info.height, info.width) < 2 * border + _LEAST_INSIDE:
        raise KSDiffError(
            f"{info.name}: {info.height} x {info.width} pixels leave too little inside a "
            f"border of {border}; give a smaller --border"
        )


def _known(methods: Sequence[str]) -> list[str]:
    methods = list(dict.fromkeys(name.strip().lower() for name in methods if name.strip()))
    unknown = [name for name in methods if name not in DEFAULT_METHODS]
    if unknown or not methods:
        asked = unknown[0] if unknown else "none"
        raise KSDiffError(f"methods: {asked!r} is not one of {', '.join(DEFAULT_METHODS)}")
    return methods


class _Network:
    """A Sharpener under the name of a method."""

    def __init__(self, weights: Weights | None, options: SharpenOptions) -> None:
        self.sharpener = Sharpener(weights, options)
        self.device = self.sharpener.device
        self.weights = str(weights) if isinstance(weights, (str, Path)) else None


def _networks(
    weights: Weights | Sequence[Weights] | None, options: SharpenOptions
) -> dict[str, _Network]:
    if weights is None or isinstance(weights, (str, Path, nn.Module)):
        return {KSDIFF: _Network(weights, options)}
    if len(weights) == 1:
        return {KSDIFF: _Network(weights[0], options)}
    named = {}
    for one in weights:
        name = Path(one).stem if isinstance(one, (str, Path)) else type(one).__name__
        if name in named or name in METHODS:
            raise KSDiffError(
                f"weights: two methods would be called {name!r}; rename one of the files"
            )
        named[name] = _Network(one, options)
    return named


def _fuse(
    name: str, read: Subject, subject: Subject, networks: dict[str, _Network]
) -> tuple[Tensor, float]:
    """Fused [1, C, H, W] and the seconds it took."""
    if name in networks:
        known = read.sensor.name if read.sensor.known else None
        sharpener = networks[name].sharpener.with_options(together=subject.judged_together)
        told = read.descriptions, read.sensor.pan_decimated
        began = time.perf_counter()
        pair = ArrayPair(read.pan[0], read.ms[0], read.phase, *told)
        fused = sharpener.fuse(sharpener.prepare(pair, known))[None]
    else:
        began = time.perf_counter()
        fused = subject.apart(METHODS[name](subject.pair()))
    if subject.pan.is_cuda:
        torch.cuda.synchronize(subject.pan.device)
    return fused, time.perf_counter() - began


def _scored(
    names: Sequence[str],
    read: Subject,
    given: Subject,
    networks: dict[str, _Network],
    border: int,
    notes: list[str],
) -> Iterator[tuple[Row, Tensor]]:
    """A row and the fused image of each method; ``notes`` get what networks cannot fuse."""
    info = given.info
    for name in names:
        try:
            fused, seconds = _fuse(name, read, given, networks)
        except KSDiffError as error:
            if name not in networks:
                raise
            notes.append(f"{name} left out on {info.name}: {error}")
            continue
        yield Row(info.name, name, info.resolution, seconds, given.judge(fused, border)), fused
