"""Images to make training pairs of any bands and any ratio from: delivered pairs, and MS alone."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rasterio
import torch
from torch import Tensor

from ksdiff.errors import KSDiffError
from ksdiff.images.bands import Alignment
from ksdiff.images.inputs import local_detail
from ksdiff.images.mtf import MTF_TAPS
from ksdiff.images.sharpness import PanGain
from ksdiff.images.shifts import estimate_shift
from ksdiff.images.translation import shift
from ksdiff.images.wald import degrade_ms, degrade_pan
from ksdiff.io.rasters import open_pair
from ksdiff.io.scenes import SceneFiles, list_scenes
from ksdiff.sensors import GENERIC_MS_GAIN, SENSORS, Wavelengths, sensor_for

PAN_GAINS = (0.08, 0.12, 0.15, 0.2, 0.3)  # MTF at Nyquist that PAN is degraded by; real: .11 to .17
PAN_KINDS: tuple[PanGain, ...] = ("bicubic", *PAN_GAINS)  # by the toolbox, and by MTFs
_BLURRED = 0.3  # images less sharp than this on their own grid are halved first
_LEAST_SIDE = 72  # pixels of a truth
_PLATFORMS = {"QuickBird": "qb", "PlanetScope": "planetscope", "NAIP": "planetscope"}


@dataclass
class Source:
    """An MS image that is a truth, and the PANs that belong to it on the same grid."""

    name: str
    group: str  # images of one place share it; never split between training and validation
    bands: Tensor  # [N, H, W] DN
    wavelengths: tuple[Wavelengths | None, ...]  # [N]
    gains: tuple[float, ...]  # [N] MTF gains at Nyquist
    pans: Tensor | None = None  # [V, H, W] registered to the bands; None: a sum of bands only
    pan_gains: tuple[PanGain | None, ...] = ()  # [V]
    crisp: Tensor | None = None  # [N, H, W] decimated by bicubic, for bicubic sums of bands
    moments: dict = field(default_factory=dict)

    def moments_at(self, ratio: int) -> Moments | None:
        """Of bands and the first PAN on the MS grid of that ratio; None where it is too small."""
        if ratio not in self.moments:
            self.moments[ratio] = self._moments(ratio)
        return self.moments[ratio]

    def _moments(self, ratio: int) -> Moments | None:
        height, width = (side // ratio * ratio for side in self.bands.shape[-2:])
        if min(height, width) // ratio < 14:
            return None
        images = self.bands if self.pans is None else torch.cat((self.bands, self.pans[-1:]))
        images = images[None, :, :height, :width]
        gains = (*self.gains, GENERIC_MS_GAIN)[: images.shape[1]]
        low = degrade_ms(images, gains, ratio).double()
        detail = local_detail(low)[0].flatten(1)
        values = low[0].flatten(1)
        return Moments(values.mean(1), values.cov(), detail @ detail.T / detail.shape[1])


@dataclass(frozen=True)
class Moments:
    """Means [N], covariance [N, N] and covariance of local detail [N, N] of an image's channels."""

    mean: Tensor
    covariance: Tensor
    detail: Tensor

    def mixed(self, mix: Tensor) -> Moments:
        """Of the channels ``mix`` [M, N] @ channels."""
        mix = mix.double()
        return Moments(mix @ self.mean, mix @ self.covariance @ mix.T, mix @ self.detail @ mix.T)


def pair_sources(folder: str | Path, sensor: str | None = None) -> list[Source]:
    """Of every scene of a folder (see `list_scenes`), the truth where there is one, else the MS."""
    entries = _entries(folder)
    made = []
    for files in list_scenes(folder):
        made += [_pair_source(files, entries.get(files.name, {}))]
    return [source for source in made if source is not None]


def _pair_source(files: SceneFiles, entry: dict) -> Source | None:
    with open_pair(files.pan, files.ms) as pair:
        patch, ratio = pair.read(), pair.ratio
        phase = pair.phase
        gt = pair.read_truth(files.gt) if files.gt is not None else None
    name = files.sensor if files.sensor in SENSORS else entry.get("platform")
    bands = patch.ms.shape[1]
    sensor = sensor_for(name if name in SENSORS else None, bands, ratio)
    wavelengths = sensor.wavelengths
    if wavelengths[0] is None:
        wavelengths = _wavelengths(entry, bands)
    ms, pan = patch.ms, patch.pan
    alignment = Alignment.measured([ms], sensor, ratio)
    if alignment is not None:
        ms = alignment.together(ms)
    gains = sensor.ms_gains
    group = entry.get("group", files.name)
    if gt is not None:
        if alignment is not None:
            gt = alignment.apart.reversed()(gt)
        step = estimate_shift(pan, degrade_ms(gt, gains, ratio), gains, (ratio // 2,) * 2)
        moved = shift(pan, -step[0], -step[1])
        told: tuple[PanGain | None, ...] = ("bicubic" if entry.get("sensor") == "gf2" else None,)
        return Source(files.name, group, gt[0], wavelengths, gains, moved[0], told)
    step = estimate_shift(pan, ms, gains, phase)
    centre = [at - (ratio - 1) / 2 for at in phase]
    moved = shift(pan, -step[0] - centre[0], -step[1] - centre[1])
    height, width = (side // ratio * ratio for side in moved.shape[-2:])
    moved = moved[..., :height, :width]
    pans, told = degraded_pans(moved, ratio)
    height, width = (min(a, b) for a, b in zip(pans.shape[-2:], ms.shape[-2:], strict=True))
    return Source(
        files.name,
        group,
        ms[0, :, :height, :width],
        wavelengths,
        gains,
        pans[:, :height, :width],
        told,
    )


def degraded_pans(
    pan: Tensor, ratio: int, kinds: Sequence[PanGain] = PAN_KINDS
) -> tuple[Tensor, tuple[PanGain, ...]]:
    """PAN [1, 1, H, W] at a ratio-th of its resolution, [V, h, w], and how sharp each is."""
    half = 0.5 if ratio % 2 == 0 else 0.0  # from the middle of a block to the sample in it
    centred = shift(pan, half, half)
    pans = [
        degrade_pan(pan, ratio) if kind == "bicubic" else degrade_ms(centred, (kind,), ratio)
        for kind in kinds
    ]
    return torch.cat(pans)[:, 0], tuple(kinds)


def ms_sources(folder: str | Path) -> list[Source]:
    """Of every NAME_ms.tif of a folder with a scenes.json that says what it is.

    Raises:
        KSDiffError: no scenes.json.
    """
    folder = Path(folder)
    entries = _entries(folder)
    if not entries:
        raise KSDiffError(f"{folder}: expected a scenes.json that names the images' wavelengths")
    made = []
    for name, entry in entries.items():
        path = folder / f"{name}_ms.tif"
        with rasterio.open(path) as source:
            bands = torch.from_numpy(source.read().astype(np.float32))
            nodata = source.nodata
        if nodata is not None and (bands == nodata).any():
            continue  # a hole would be learnt as a dark square
        wavelengths = _wavelengths(entry, len(bands))
        gains = (GENERIC_MS_GAIN,) * len(bands)
        if entry["sensor"] in SENSORS and SENSORS[entry["sensor"]].bands == len(bands):
            gains = SENSORS[entry["sensor"]].ms_gains
        source = Source(name, entry.get("group", name), bands, wavelengths, gains)
        for _ in range(
            2 if "twice" in entry.get("use", "") else 1 if "halve" in entry.get("use", "") else 0
        ):
            source = halved(source)
        made.append(source)
    return made


def halved(source: Source, kinds: Sequence[PanGain] = PAN_KINDS) -> Source:
    """At half the resolution, through the sensor's MTF, with PANs of those sharpnesses."""
    height, width = (side // 2 * 2 for side in source.bands.shape[-2:])
    bands = source.bands[None, :, :height, :width]
    # At the new Nyquist frequency, half the old, a Gaussian MTF of gain g has left g ** 1/4.
    gains = tuple(gain**0.75 for gain in source.gains)
    pans: Tensor | None = None
    told: tuple[PanGain | None, ...] = ()
    if source.pans is not None:
        pans, told = degraded_pans(source.pans[None, :1, :height, :width], 2, kinds)
    return Source(
        f"{source.name}, halved",
        source.group,
        degrade_ms(shift(bands, 0.5, 0.5), gains, 2)[0],
        source.wavelengths,
        source.gains,
        pans,
        told,
        degrade_pan(bands, 2)[0],
    )


def large_enough(source: Source) -> bool:
    return min(source.bands.shape[-2:]) >= _LEAST_SIDE


def southern(source: Source, share: float, keep_south: bool) -> Source:
    """The southern ``share`` of the rows, or the rest; a filter's reach lies between."""
    height = source.bands.shape[-2]
    cut = round(height * (1 - share))
    rows = slice(cut, height) if keep_south else slice(0, cut - MTF_TAPS)
    crop = lambda image: None if image is None else image[:, rows]  # noqa: E731
    return Source(
        source.name,
        source.group,
        source.bands[:, rows],
        source.wavelengths,
        source.gains,
        crop(source.pans),
        source.pan_gains,
        crop(source.crisp),
    )


def _entries(folder: str | Path) -> dict[str, dict]:
    path = Path(folder) / "scenes.json"
    if not path.exists():
        return {}
    return {entry["name"]: entry for entry in json.loads(path.read_text())}


def _wavelengths(entry: dict, bands: int) -> tuple[Wavelengths | None, ...]:
    """Of the file's scenes.json entry: "NAME NUMBER" per band, or a sensor's."""
    texts = entry.get("wavelengths")
    if isinstance(texts, str) and bands > 20:
        centres = np.linspace(400, 1000, bands)  # first bands of an imaging spectrometer
        return tuple((float(at - 5), float(at + 5)) for at in centres)
    name = _PLATFORMS.get(entry.get("platform", ""), entry.get("platform"))
    known = SENSORS.get(name or "")
    if known is not None and known.bands == bands:
        return known.wavelengths
    numbers = [n for text in texts or () if (n := re.search(r"(\d{3,4})$", text)) is not None]
    if len(numbers) == bands == len(texts or ()):
        return tuple((float(n[1]) - 20, float(n[1]) + 20) for n in numbers)
    if bands == 4:
        return SENSORS["gf2"].wavelengths
    return (None,) * bands
