"""The public class that sharpens scenes of any size."""

from __future__ import annotations

import copy
import functools
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast, overload

import numpy as np
import rasterio
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from ksdiff.errors import KSDiffError
from ksdiff.images.pair import ArrayPair, Pair
from ksdiff.images.registration import Registration
from ksdiff.inference.classical import classical
from ksdiff.inference.fusion import FusionModel, PriorStep, SceneTensors, WindowStep, addresses
from ksdiff.inference.graphs import Graphs
from ksdiff.inference.options import SharpenOptions
from ksdiff.inference.output_paths import OutputPaths
from ksdiff.inference.progress import Stage, progress_bars, silent
from ksdiff.inference.scene import PreparedScene
from ksdiff.inference.sensor import (
    assumption,
    bundled_for,
    order_hint_of,
    pan_gain_of,
    sensor_of,
    unrelated_hint,
)
from ksdiff.inference.survey import Survey
from ksdiff.inference.transfer import upload
from ksdiff.inference.windows import Fuse, Part, fused_windows
from ksdiff.inference.writing import Target
from ksdiff.io.image import gdal_options
from ksdiff.io.input_options import InputOptions
from ksdiff.io.output_options import OutputOptions
from ksdiff.io.products import Product, ProductImage, read_product
from ksdiff.io.provenance import provenance
from ksdiff.io.rasters import Raster, ScenePair, names_of, open_pair
from ksdiff.models.ksdiff import KSDiff, takes_any_bands
from ksdiff.models.weights import check_fit, load_weights, weights_hash
from ksdiff.runtime import device_named, emulates_bfloat16, release_freed_memory
from ksdiff.sensors import Sensor

_Phase = tuple[float, float] | None
_SIDE_BY_SIDE = 4  # windows in memory at once, at most


@dataclass(frozen=True)
class Fused:
    """What `Sharpener.sharpen_files` did."""

    path: Path
    bands: int
    height: int
    width: int
    dtype: str
    weights: str  # or the classical method
    registration: Registration  # by how much PAN was off the MS; undone
    apart: float  # PAN pixels between two bands, at most; PAN's detail was put where each has it
    blur: float  # MTF gain at Nyquist that the scene shows, over the sensor's
    notes: tuple[str, ...]  # what was guessed about the inputs, in sentences
    seconds: float

    @property
    def shift(self) -> tuple[float, float]:
        """(dy, dx) in PAN pixels by which PAN was off the MS; where that varies, its middle."""
        return self.registration.shift


class Sharpener:
    """Loads weights once and sharpens many scenes with them.

    On a machine that does other work, too, set OMP_WAIT_POLICY=PASSIVE before importing PyTorch, as
    the command does: threads that spin while they wait take cores from those that compute.

    Args:
        weights: a bundled name, a .safetensors file, or a model in memory with ``config``,
            ``estimate_kernels`` and ``fuse``; None chooses the bundled weights by band count and
            ratio of each scene, and those for any bands where ``pan_gain`` is told.
        options: how to sharpen; by default the fields of `SharpenOptions`.
        changes: fields of `SharpenOptions` that differ from ``options``, for example
            ``sensor="wv3"``.

    Raises:
        KSDiffError: no such weights, sensor, device or precision.
    """

    def __init__(
        self,
        weights: str | Path | nn.Module | None = None,
        options: SharpenOptions | None = None,
        **changes: Any,
    ) -> None:
        self.options = replace(options or SharpenOptions(), **changes)
        self.device = device_named(self.options.device)
        self._graphs = Graphs(self.device)
        # A GPU computes a window while the CPU reads the next and writes the one before.
        self._in_flight = 1 if self.device.type == "cuda" else 0
        self._models: dict[str, FusionModel] = {}
        self._fixed: str | None = None
        self._weights = weights
        if self._classical and weights is not None:
            raise KSDiffError(f"weights: {self.options.method} takes none; leave them out")
        if isinstance(weights, nn.Module):
            self._fixed = "a model in memory"
            self._models[self._fixed] = cast(FusionModel, weights.to(self.device).eval())
        elif weights is not None:
            self._fixed = str(weights)
            self._load(self._fixed)

    @property
    def _classical(self) -> bool:
        return self.options.method != "ksdiff"

    def with_options(self, **changes: Any) -> Sharpener:
        """The same models on the same device, with other options."""
        other = copy.copy(self)
        other.options = replace(self.options, **changes, device=self.options.device)
        return other

    @overload
    def sharpen(
        self, pan: ArrayLike, ms: Tensor, phase: _Phase = None, sensor: str | None = None
    ) -> Tensor: ...

    @overload
    def sharpen(
        self, pan: ArrayLike, ms: ArrayLike, phase: _Phase = None, sensor: str | None = None
    ) -> np.ndarray: ...

    def sharpen(
        self, pan: ArrayLike, ms: ArrayLike, phase: _Phase = None, sensor: str | None = None
    ) -> Tensor | np.ndarray:
        """Fuse a pair in memory.

        Args:
            pan: [H, W] or [1, H, W], array or tensor, DN; NaN marks pixels without data, and so
                does the mask of a masked array.
            ms: [C, H / ratio, W / ratio], likewise.
            phase: PAN coordinate (y, x) of the centre of MS pixel (0, 0); by default the corners of
                the two coincide. Wald's protocol has ``(ratio // 2, ratio // 2)``.
            sensor: of this pair, instead of the one given at construction.

        Returns:
            [C, H, W] float32 DN, NaN where either has no data; an array if ``ms`` is one.

        Raises:
            KSDiffError: shapes that do not fit, a band count without weights.
        """
        fused = self.fuse(self.prepare(ArrayPair(pan, ms, phase), sensor))
        return fused if isinstance(ms, Tensor) else fused.numpy()

    def fuse(self, scene: PreparedScene, kernels: object = None) -> Tensor:
        """The fused scene [C, H, W] in DN on the CPU, NaN without data; see `windows`."""
        out = torch.empty(scene.pair.bands, *scene.pair.shape)
        for part in self.windows(scene, kernels):
            height, width = part.fused.shape[1:]
            area = (..., slice(part.top, part.top + height), slice(part.left, part.left + width))
            whole = part.valid.all()
            out[area] = part.fused if whole else torch.where(part.valid, part.fused, math.nan)
        return out

    def sharpen_files(
        self,
        pan: Raster,
        ms: Raster,
        out: str | Path,
        *,
        reading: InputOptions | None = None,
        sensor: str | None = None,
        output: OutputOptions | None = None,
        rgb: str | Path | None = None,
        preview: str | Path | None = None,
        report: str | Path | None = None,
        overwrite: bool = False,
        progress: bool | Stage = False,
    ) -> Fused:
        """Fuse two rasters into a third, in memory that does not grow with the scene.

        The output lies on PAN's grid, cut to the shared extent, with the data type, nodata value
        and all that is said of its bands in ``ms``. Pixels where either input has no data have
        none. Tags say how it was made. It appears under its name only when it is complete.

        Args:
            pan, ms: any raster GDAL opens by that name, or several, or the two parts of a product;
                see `ksdiff.io.rasters.open_pair`.
            out: raster to write; the ending of its name chooses the format, of GeoTIFFs
                cloud-optimised ones.
            reading: how the inputs are read.
            sensor: of this pair, instead of the one given at construction.
            output: how the raster is written.
            rgb: 8-bit picture in true colours to write, a GeoTIFF or PNG.
            preview: PNG of both inputs and the result to write.
            report: HTML page to write, see `ksdiff.inference.report.write_report`; the three images
                are read once more for it.
            overwrite: replace existing files.
            progress: show progress bars on the terminal, or what begins them.

        Raises:
            KSDiffError: bad input, a band count without weights, a path that cannot be written.
        """
        began = time.perf_counter()
        paths = OutputPaths(out, rgb, preview, report)
        paths.check((*names_of(pan), *names_of(ms)), overwrite)
        with rasterio.Env(**gdal_options()), open_pair(pan, ms, reading or InputOptions()) as pair:
            tags = self.provenance(pan, ms, pair, sensor)
            target = Target.of(out, pair, output or OutputOptions(), tags)
            with progress_bars(progress) as stage:
                scene = self.prepare(pair, sensor, stage)
                self._write(scene, pair, target, preview, stage)
                if report is not None:
                    from ksdiff.inference.report import write_report

                    method = self._weights_name(scene.sensor)
                    write_report(report, pair, scene, out, self.options, method, stage)
            if rgb is not None:
                from ksdiff.inference.rgb import write_rgb

                write_rgb(out, rgb, pair.descriptions, scene.sensor.band_names)
            return Fused(
                Path(out),
                pair.bands,
                *pair.shape,
                target.dtype,
                self._weights_name(scene.sensor),
                scene.registration,
                scene.apart,
                scene.blur,
                self._notes(scene, pair),
                time.perf_counter() - began,
            )

    def _write(
        self,
        scene: PreparedScene,
        pair: ScenePair,
        target: Target,
        preview: str | Path | None,
        stage: Stage,
    ) -> None:
        """Fuse a scene into a file, and draw it meanwhile where a ``preview`` is asked for."""
        picture = None
        if preview is not None:
            from ksdiff.inference.preview import Preview  # Matplotlib: only when it draws

            picture = Preview(pair, scene)
        with target.opened() as write:
            for part in self.windows(scene, stage=stage):
                write(part)
                if picture is not None:
                    picture.add(part)
            release_freed_memory()
        if picture is not None and preview is not None:
            picture.write(preview)

    def _notes(self, scene: PreparedScene, pair: ScenePair) -> tuple[str, ...]:
        """What was guessed about a scene and what was measured, in sentences."""
        measured = (
            assumption(scene, pair),
            scene.registration.note,
            order_hint_of(scene, pair),
            unrelated_hint(scene, pair.descriptions),
            self._slow_precision(),
        )
        return (*pair.notes, *filter(None, measured))

    def sharpen_product(
        self, product: str | Path | Product, out: str | Path, **options: Any
    ) -> Fused:
        """Fuse a product as its provider delivers it.

        Args:
            product: its folder, archive, metadata file or address, or what
                `ksdiff.io.products.read_product` made of it.
            out, options: as for `sharpen_files`. The product tells the sensor.

        Raises:
            KSDiffError: no product that is known, a file of it that is missing; as for
                `sharpen_files`.
        """
        known = product if isinstance(product, Product) else read_product(product)
        return self.sharpen_files(known.pan, known.ms, out, **options)

    @torch.inference_mode()
    def prepare(
        self,
        pair: Pair,
        sensor: str | None = None,
        stage: Stage = silent,
        surveyed: Survey | None = None,
    ) -> PreparedScene:
        """Measure a scene: statistics, sample windows, shifts and MTF.

        Args:
            sensor: of this pair, instead of the one given at construction.
            stage: progress callback.
            surveyed: of the pair with the tiles of the options, where it is known.

        Raises:
            KSDiffError: no weights for the scene's bands, no pixel with data in both images.
        """
        options = self.options
        known = sensor_of(sensor or options.sensor, pair)
        any_bands = not self._classical and takes_any_bands(self._model(known))
        return PreparedScene.of(
            pair,
            known,
            self.device,
            registration=options.registration,
            contrast=options.contrast,
            pan_gain=pan_gain_of(options.pan_gain, known),
            any_bands=any_bands,
            tile=options.tile,
            stage=stage,
            surveyed=surveyed,
        )

    def check(self, pair: Pair) -> None:
        """Raise a KSDiffError where there are no weights for a scene; reads nothing of it."""
        known = sensor_of(self.options.sensor, pair)
        if not self._classical:
            self._model(known)

    @torch.inference_mode()
    def windows(
        self, scene: PreparedScene, kernels: object = None, stage: Stage = silent
    ) -> Iterator[Part]:
        """Fuse a scene, part by part in reading order.

        Args:
            kernels: of the scene; by default they come from its own prior.
            stage: progress callback.
        """
        fuse = self.fuser(scene, kernels)
        tile, threads = self.options.tile, self._side_by_side(scene.sensor)
        yield from fused_windows(scene, fuse, tile, self._in_flight, stage, threads)

    def _side_by_side(self, sensor: Sensor) -> int:
        """Threads that each compute a window. Of other models it is not known whether they can."""
        if self.device.type != "cpu" or not (self._classical or _capturable(self._model(sensor))):
            return 1
        return min(torch.get_num_threads(), _SIDE_BY_SIDE)

    def fuser(self, scene: PreparedScene, kernels: object = None) -> Fuse:
        """What fuses windows of a scene; arguments as for `windows`."""
        if self._classical:
            return classical(scene, self.options.method, self.options.together)
        return self._network(scene, kernels)

    def kernels(self, scene: PreparedScene) -> object:
        """Kernels from a scene's own prior; None for a classical method, which has none."""
        return None if self._classical else self._kernels(self._model(scene.sensor), scene)

    def _network(self, scene: PreparedScene, kernels: object = None) -> Fuse:
        """What fuses windows of a scene by the scene's model."""
        model, pair = self._model(scene.sensor), scene.pair
        if kernels is None:
            kernels = self._kernels(model, scene)
        step = WindowStep(
            model,
            self._addresses(model),
            pair.ratio,
            pair.phase,
            self.device.type,
            self.options.precision,
            self.options.together,
            scene.equaliser,
        )
        tensors = SceneTensors(kernels, scene.statistics, scene.filters, scene.alignment)
        if self.device.type == "cuda" and _capturable(model):
            return functools.partial(self._graphs, step, tensors)
        return functools.partial(step, tensors)

    def _slow_precision(self) -> str | None:
        if self._classical or self.options.precision == "float32":
            return None
        if not emulates_bfloat16(self.device):
            return None
        return (
            "this CPU has no units for bfloat16, which takes it many times as long; "
            "--precision float32 is quicker here"
        )

    def provenance(
        self, pan: object, ms: object, pair: Pair, sensor: str | None = None
    ) -> dict[str, str]:
        """Tags that say what makes the fused image of a scene; arguments as for `sharpen_files`."""
        known = sensor_of(sensor or self.options.sensor, pair)
        name, weights = self._weights_name(known), None
        if not self._classical:
            on_disk = not isinstance(self._weights, nn.Module)
            weights = {"name": name, "sha256": weights_hash(name) if on_disk else None}
        sensor = sensor or self.options.sensor or getattr(pair, "sensor", None)
        options = asdict(self.options) | ({"sensor": sensor} if sensor else {})
        inputs = {"pan": pan, "ms": ms}
        for role, given in inputs.items():
            if isinstance(given, ProductImage):
                inputs[role] = list(given.names)
        return provenance(inputs, options, weights=weights)

    def _weights_name(self, sensor: Sensor) -> str:
        """The name of the weights, or of the classical method."""
        if self._classical:
            return self.options.method
        return self._fixed or bundled_for(sensor, self.options.pan_gain)

    def _load(self, name: str) -> FusionModel:
        if name not in self._models:
            self._models[name] = load_weights(name)[0].to(self.device).eval()
        return self._models[name]

    def _model(self, sensor: Sensor) -> FusionModel:
        name = self._weights_name(sensor)
        model = self._load(name)
        check_fit(name, model.config, sensor.bands, sensor.ratio)
        return model

    def _kernels(self, model: FusionModel, scene: PreparedScene) -> object:
        """Kernels from the prior, which is sampled once for the whole scene."""
        generator = torch.Generator().manual_seed(self.options.seed)
        if not isinstance(model, KSDiff) or not _capturable(model):
            return model.estimate_kernels(scene.prior_inputs, generator=generator)
        noise = upload(model.draw_noise(generator), self.device)
        step = PriorStep(model, self._addresses(model))
        return self._graphs(step, scene.prior_inputs, noise)

    def _addresses(self, model: FusionModel) -> tuple[int, ...]:
        """Needed for graphs only; it takes two milliseconds."""
        return addresses(model) if self.device.type == "cuda" else ()


def _capturable(model: FusionModel) -> bool:
    """Other models may run Python code that a graph does not repeat."""
    return type(model) is KSDiff
