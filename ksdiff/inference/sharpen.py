"""Sharpening scenes of any size: one survey, one prior, then window by window."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import rasterio
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from ksdiff.errors import KSDiffError
from ksdiff.images.fill import fill_invalid
from ksdiff.images.inputs import FusionInputs, SceneStatistics, detail_contrast, fusion_inputs
from ksdiff.images.pair import ArrayPair, Pair, Patch
from ksdiff.images.placement import RegisteredPair, put_in_place
from ksdiff.images.polyphase import extend
from ksdiff.images.wald import mtf_filters
from ksdiff.inference.fusion import PriorStep, SceneTensors, WindowStep, addresses
from ksdiff.inference.graphs import Graphs
from ksdiff.inference.preview import write_preview
from ksdiff.inference.survey import sample_windows, survey
from ksdiff.inference.tiles import Blender, Span, plan_spans
from ksdiff.inference.transfer import download, held_back, upload
from ksdiff.io.geotiff import RasterWriter, quantise
from ksdiff.io.outputs import atomic, check_output
from ksdiff.io.rasters import ScenePair, open_pair
from ksdiff.models.ksdiff import KSDiff
from ksdiff.models.weights import check_fit, load_weights, weights_for
from ksdiff.sensors import sensor_for

_MULTIPLE = 8  # PAN pixels: the network halves its input three times
_OVERLAP = 32  # PAN pixels over which neighbours blend
_MARGIN = 32  # PAN pixels around a window that its filters need and its result drops
_FILL_REACH = 64  # PAN pixels: as far as filters reach from a valid pixel into a hole
_SAMPLE_SIDE = 256  # PAN pixels, of the windows from which the prior is estimated
_SAMPLE_RIM = 16  # PAN pixels at its rim that the prior does not see: mirrored images made them
_SAMPLES = 8  # more say the same again, and scenes of a few windows would pay for them
_GDAL_CACHE = 128 * 2**20  # bytes, as rasterio takes it; by itself GDAL takes a share of all memory


class _Whole(NamedTuple):
    """A scene that is one window and one sample of itself: what is computed once, used twice."""

    patch: Patch
    inputs: FusionInputs
    ms: Tensor  # [1, C, h, w] without holes


class _Prepared(NamedTuple):
    """What is computed once per scene."""

    pair: Pair  # registered, if that was wanted
    step: WindowStep | functools.partial  # on a GPU from graphs
    tensors: SceneTensors
    shift: tuple[float, float]
    apart: float  # see `Fused`
    blur: float  # measured MTF gain over the sensor's
    whole: _Whole | None


@dataclass(frozen=True)
class Fused:
    """What `Sharpener.sharpen_files` did."""

    path: Path
    bands: int
    height: int
    width: int
    dtype: str
    weights: str
    shift: tuple[float, float]  # (dy, dx) by which PAN was off the MS, in PAN pixels; undone
    apart: float  # PAN pixels between two bands, at most; PAN's detail was put where each has it
    blur: float  # MTF gain at Nyquist that the scene shows, over the sensor's
    seconds: float


class Sharpener:
    """Loads weights once and sharpens many scenes with them.

    Args:
        weights: a bundled name, a .safetensors file, or a model in memory with ``config``,
            ``estimate_kernels`` and ``fuse``; None chooses the bundled weights by band count and
            ratio of each scene.
        sensor: name of the sensor, for its MTF; None for generic gains. Calls may name another.
        device: ``auto``, ``cpu`` or ``cuda``.
        seed: of the noise from which the prior is sampled. Same scene, same seed, same result.
        tile: side of a window in PAN pixels, a multiple of 256.
        register: move PAN onto the MS first, and the bands of sensors with opposite arrays onto
            each other until they are fused, by the shifts that the scene itself shows; where it
            shows none, nothing is moved.
        precision: ``float32``, or ``bfloat16`` for the network's convolutions and products, which
            is faster where the machine has units for it; prior, inputs and back-projection stay.
        together: leave bands that ``register`` has brought together so: no fringes of colour where
            bands of both arrays are shown, but no longer where the MS image has them.

    Raises:
        KSDiffError: no such weights, sensor, device or precision.
    """

    def __init__(
        self,
        weights: str | Path | nn.Module | None = None,
        *,
        sensor: str | None = None,
        device: str = "auto",
        seed: int = 0,
        tile: int = 512,
        register: bool = True,
        precision: str = "float32",
        together: bool = False,
        contrast: str = "slope",
    ):
        if tile < 256 or tile % 256:
            raise KSDiffError(f"tile: expected a multiple of 256, got {tile}")
        if precision not in ("float32", "bfloat16"):
            raise KSDiffError(f"precision: expected float32 or bfloat16, got {precision!r}")
        if contrast not in ("slope", "deviations"):
            raise KSDiffError(f"contrast: expected slope or deviations, got {contrast!r}")
        self.sensor = sensor
        self.device = device_named(device)
        self.precision = precision
        self.together = together
        self.contrast = contrast
        self.seed = seed
        self.tile = tile
        self.register = register
        self._graphs = Graphs(self.device)
        # A GPU computes a window while the CPU reads the next and writes the one before.
        self._in_flight = 1 if self.device.type == "cuda" else 0
        self._models: dict[str, nn.Module] = {}
        self._fixed: str | None = None
        if isinstance(weights, nn.Module):
            self._fixed = "a model in memory"
            self._models[self._fixed] = weights.to(self.device).eval()
        elif weights is not None:
            self._fixed = str(weights)
            self._load(self._fixed)

    def sharpen(self, pan, ms, phase: tuple[float, float] | None = None, sensor: str | None = None):
        """Fuse a pair in memory.

        Args:
            pan: [H, W] or [1, H, W], array or tensor, DN; NaN marks pixels without data.
            ms: [C, H / ratio, W / ratio], likewise.
            phase: PAN coordinate (y, x) of the centre of MS pixel (0, 0); by default the corners of
                the two coincide. Wald's protocol has ``(ratio // 2, ratio // 2)``.
            sensor: of this pair, instead of the one given at construction.

        Returns:
            [C, H, W] float32 DN, NaN where either has no data; an array if ``ms`` is one.

        Raises:
            KSDiffError: shapes that do not fit, a band count without weights.
        """
        pair = ArrayPair(pan, ms, phase)
        out = torch.empty(pair.bands, *pair.shape)
        prepared = self._prepare(pair, sensor or self.sensor)
        for part, valid, top, left in self._windows(prepared):
            area = (..., slice(top, top + part.shape[1]), slice(left, left + part.shape[2]))
            out[area] = part if valid.all() else torch.where(valid, part, math.nan)
        return out if isinstance(ms, Tensor) else out.numpy()

    def sharpen_files(
        self,
        pan: str | Path,
        ms: str | Path,
        out: str | Path,
        *,
        sensor: str | None = None,
        preview: str | Path | None = None,
        overwrite: bool = False,
        progress: bool = False,
    ) -> Fused:
        """Fuse two rasters into a GeoTIFF, in memory that does not grow with the scene.

        The output lies on PAN's grid, cut to the shared extent, with the data type, nodata value
        and band descriptions of ``ms``. Pixels where either input has no data have none. It gets
        its name when it is complete, not before.

        Args:
            pan, ms: any raster GDAL reads; see `ksdiff.io.rasters.open_pair`.
            out: GeoTIFF to write.
            sensor: of this pair, instead of the one given at construction.
            preview: PNG of both inputs and the result to write.
            overwrite: replace existing files.
            progress: show a progress bar on the terminal.

        Raises:
            KSDiffError: bad input, a band count without weights, a path that cannot be written.
        """
        began = time.perf_counter()
        targets = {"out": out} if preview is None else {"out": out, "preview": preview}
        _check_targets(targets, (pan, ms), overwrite)
        with rasterio.Env(GDAL_CACHEMAX=_GDAL_CACHE), open_pair(pan, ms) as pair:
            with _progress(progress) as stage:
                prepared = self._prepare(pair, sensor or self.sensor, stage)
                with atomic(out) as temporary, _writer(temporary, pair) as writer:
                    for part, valid, top, left in self._windows(prepared, stage):
                        values = quantise(part.numpy(), valid.numpy(), pair.dtype, pair.nodata)
                        writer.write(values, top, left)
                    writer.finish()
            if preview is not None:
                write_preview(pair, out, preview)
            return Fused(
                Path(out),
                pair.bands,
                *pair.shape,
                pair.dtype,
                self._weights_name(pair),
                prepared.shift,
                prepared.apart,
                prepared.blur,
                time.perf_counter() - began,
            )

    def _weights_name(self, pair: Pair) -> str:
        return self._fixed or weights_for(pair.bands, pair.ratio)

    def _load(self, name: str) -> nn.Module:
        if name not in self._models:
            self._models[name] = load_weights(name)[0].to(self.device).eval()
        return self._models[name]

    def _model(self, pair: Pair) -> nn.Module:
        name = self._weights_name(pair)
        model = self._load(name)
        check_fit(name, model.config, pair.bands, pair.ratio)
        return model

    @torch.inference_mode()
    def _prepare(self, pair: Pair, sensor: str | None, stage: _Stage | None = None) -> _Prepared:
        model = self._model(pair)
        known = sensor_for(sensor, pair.bands, pair.ratio)
        count = math.prod(math.ceil(length / self.tile) for length in pair.shape)
        surveyed = survey(pair, self.tile, _stepper(stage, "Surveying", count))
        statistics = SceneStatistics(*(upload(part, self.device) for part in surveyed.statistics))
        chosen = sample_windows(
            pair.shape, surveyed.valid_share, pair.ratio, _SAMPLE_SIDE, _SAMPLES
        )
        patches = [pair.read(*at) for at in chosen]
        images = [self._images(patch, statistics, pair.ratio) for patch in patches]
        delivered = images[0][1]
        images, alignment, moved, gains = put_in_place(images, known, pair.phase, self.register)
        pans, bands = zip(*images, strict=True)
        if any(moved):
            pair = RegisteredPair(pair, *moved)
            patches = [pair.read(*at) for at in chosen]
            pans = [self._pan(patch, statistics) for patch in patches]
        filters = mtf_filters(gains, pair.ratio, torch.float32, self.device)
        inputs = fusion_inputs(
            torch.cat(pans),
            torch.cat(bands),
            filters,
            pair.ratio,
            pair.phase,
            statistics,
            "reflect",
        )
        if self.contrast == "slope":
            statistics = statistics._replace(contrast=detail_contrast(inputs, pair.ratio))
        inputs = inputs._replace(contrast=statistics.contrast.expand(len(chosen), -1))
        kernels = self._kernels(model, _without_rim(inputs))
        tensors = SceneTensors(kernels, statistics, filters, alignment)
        # From graphs it would take one of another kind, and save less than on a CPU.
        once = chosen == [(0, 0, *pair.shape)] and self.device.type == "cpu"
        return _Prepared(
            pair,
            self._step(model, pair),
            tensors,
            moved,
            0.0 if alignment is None else alignment.furthest,
            gains[0] / known.ms_gains[0],
            _Whole(patches[0], inputs, delivered) if once else None,
        )

    def _kernels(self, model: nn.Module, samples: FusionInputs):
        generator = torch.Generator().manual_seed(self.seed)
        if not _capturable(model):
            return model.estimate_kernels(samples, generator=generator)
        noise = upload(model.draw_noise(generator), self.device)
        return self._graphs(PriorStep(model, self._addresses(model)), samples, noise)

    def _step(self, model: nn.Module, pair: Pair):
        step = WindowStep(
            model,
            self._addresses(model),
            pair.ratio,
            pair.phase,
            self.device.type,
            self.precision,
            self.together,
        )
        on_gpu = self.device.type == "cuda"
        return functools.partial(self._graphs, step) if on_gpu and _capturable(model) else step

    def _addresses(self, model: nn.Module) -> tuple[int, ...]:
        """Where there are graphs; elsewhere it would take two milliseconds for nothing."""
        return addresses(model) if self.device.type == "cuda" else ()

    def _images(
        self, patch: Patch, statistics: SceneStatistics, ratio: int
    ) -> tuple[Tensor, Tensor]:
        """PAN [1, 1, H, W] and MS [1, C, h, w] in DN on the device, without holes."""
        mean = statistics.ms_mean[..., None, None]
        ms = self._filled(patch.ms, patch.ms_valid, mean, _FILL_REACH // ratio)
        return self._pan(patch, statistics), ms

    def _pan(self, patch: Patch, statistics: SceneStatistics) -> Tensor:
        mean = statistics.pan_mean[..., None, None]
        return self._filled(patch.pan, patch.pan_valid, mean, _FILL_REACH)

    def _filled(self, values: Tensor, valid: Tensor, fallback: Tensor, reach: int) -> Tensor:
        there = upload(values, self.device)
        if valid.all():  # asked on the CPU, where there is nothing to wait for
            return there
        return fill_invalid(there, upload(valid, self.device), fallback, reach)

    @torch.inference_mode()
    def _windows(
        self, prepared: _Prepared, stage: _Stage | None = None
    ) -> Iterator[tuple[Tensor, Tensor, int, int]]:
        """Fused DN [C, h, w], its valid pixels, and its corner, part by part in reading order."""
        rows, columns = (
            plan_spans(length, self.tile, _OVERLAP, _MARGIN, _MULTIPLE)
            for length in prepared.pair.shape
        )
        blender = Blender(rows, columns)
        step = _stepper(stage, "Sharpening", len(rows) * len(columns))
        places = itertools.product(range(len(rows)), range(len(columns)))
        begun = ((i, j, *self._begin(prepared, rows[i], columns[j])) for i, j in places)
        for i, j, fused, valid in held_back(begun, self._in_flight):
            part = blender.add(fused(), i, j)
            valid = valid[:, : part.shape[1], : part.shape[2]]
            yield part, valid, rows[i].start, columns[j].start
            step()

    def _begin(
        self, prepared: _Prepared, row: Span, column: Span
    ) -> tuple[Callable[[], Tensor], Tensor]:
        """Set a window going: its fused DN [C, h, w], once it is called for, and valid pixels."""
        pair = prepared.pair
        if prepared.whole is not None:
            patch, inputs, ms = prepared.whole
            fused = prepared.step.fuse(prepared.tensors, inputs, ms)
            return download(fused), valid_output(patch, pair.ratio, pair.phase)
        patch = pair.read(
            row.read_start,
            column.read_start,
            row.read_stop - row.read_start,
            column.read_stop - column.read_start,
        )
        inner = (
            ...,
            slice(row.start - row.read_start, row.stop - row.read_start),
            slice(column.start - column.read_start, column.stop - column.read_start),
        )
        valid = valid_output(patch, pair.ratio, pair.phase)[inner]
        if not valid.any():
            return download(torch.zeros(valid.shape)), valid
        size = (row.padded_stop - row.read_start, column.padded_stop - column.read_start)
        patch = _mirrored(patch, size, pair.ratio)
        images = self._images(patch, prepared.tensors.statistics, pair.ratio)
        return download(prepared.step(prepared.tensors, *images)[inner]), valid


def _without_rim(samples: FusionInputs) -> FusionInputs:
    """Samples without what mirrored images have made; of small scenes all, for they have little."""
    if min(samples.pan.shape[-2:]) < _SAMPLE_SIDE:
        return samples
    inner = (..., slice(_SAMPLE_RIM, -_SAMPLE_RIM), slice(_SAMPLE_RIM, -_SAMPLE_RIM))
    return samples.cropped(inner)


def _capturable(model: nn.Module) -> bool:
    """A model of another kind may do in Python what a graph does not repeat."""
    return type(model) is KSDiff


def valid_output(patch: Patch, ratio: int, phase: tuple[float, float]) -> Tensor:
    """Pixels of the fused window that have data [C, H, W]: PAN's and the nearest MS pixel's."""
    if patch.ms_valid.all():
        return patch.pan_valid[0].expand(patch.ms_valid.shape[1], -1, -1)
    nearest = [
        torch.floor((torch.arange(length) - at) / ratio + 0.5).long().clamp(0, count - 1)
        for length, count, at in zip(patch.pan.shape[-2:], patch.ms.shape[-2:], phase, strict=True)
    ]
    ms_valid = patch.ms_valid[0][:, nearest[0]][:, :, nearest[1]]
    return ms_valid & patch.pan_valid[0]


def _mirrored(patch: Patch, size: tuple[int, int], ratio: int) -> Patch:
    """Continue a window beyond the scene, to the size that the network takes."""
    parts = []
    for values, scale in zip(patch, (1, ratio, 1, ratio), strict=True):
        for dim, length in zip((-2, -1), size, strict=True):
            values = extend(values, dim, 0, length // scale, "symmetric")
        parts.append(values)
    return Patch(*parts)


def device_named(name: str) -> torch.device:
    """``auto``, ``cpu`` or ``cuda``; a KSDiffError where it is not there."""
    if name not in ("auto", "cpu", "cuda"):
        raise KSDiffError(f"device: expected auto, cpu or cuda, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise KSDiffError("device: cuda was asked for, but PyTorch finds no CUDA device")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _check_targets(
    targets: dict[str, str | Path], sources: tuple[str | Path, str | Path], overwrite: bool
) -> None:
    taken = {Path(source).resolve() for source in sources}
    for option, path in targets.items():
        check_output(path, overwrite, option)
        resolved = Path(path).resolve()
        if resolved in taken:
            raise KSDiffError(f"{option} {path}: is one of the other files of this call")
        taken.add(resolved)


@contextlib.contextmanager
def _writer(path: Path, pair: ScenePair) -> Iterator[RasterWriter]:
    writer = RasterWriter(
        path,
        pair.bands,
        *pair.shape,
        pair.dtype,
        transform=pair.transform if pair.georeferenced else None,
        crs=pair.crs,
        nodata=pair.nodata,
        descriptions=pair.descriptions,
        gcps=pair.gcps,
        rpcs=pair.rpcs,
    )
    try:
        yield writer
    finally:
        writer.close()


_Stage = Callable[[str, int], Callable[[], None]]


@contextlib.contextmanager
def _progress(show: bool) -> Iterator[_Stage | None]:
    if not show:
        yield None
        return
    columns = (TextColumn("{task.description:<10}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:

        def stage(name: str, count: int) -> Callable[[], None]:
            task = bar.add_task(name, total=count)
            return lambda: bar.advance(task)

        yield stage


def _stepper(stage: _Stage | None, name: str, count: int) -> Callable[[], None]:
    return stage(name, count) if stage else lambda: None
