"""What is held out of the universal training, and the cases that its weights are judged on.

Every native scene is degraded once more, to be judged beside its own MS, with PAN decimated by the
toolbox's bicubic and by PAN's own MTF, at two ratios; images without PAN get one of their bands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ksdiff.images.sharpness import PanGain, equalised, mean_gain
from ksdiff.images.wald import degrade_ms
from ksdiff.sensors import UNKNOWN, Sensor, Wavelengths
from ksdiff.training.sources import PAN_GAINS, Source, ms_sources, pair_sources, southern

# Names or groups: every image of the place is held out.
HELD_OUT = (
    "gf2_sfnlr",
    "spacenet_wv3_shanghai1920",
    "rasterframes_l8_elkton",
    "pleiades_urban",
    "unknown4_3",
    "oscd_saclay",
    "oscd_beirut",
    "opengeos_naip",
    "otad_abu_airport_2",
    "cdrepo_taizhou_2003",
    "taizhou",
)
HELD_OUT_SOUTH = ("wv2_longmont_west", "wv3_longmont_west")  # their southern thirds
SOUTH = 1 / 3
SIDE = 240  # pixels of a case at most: a multiple of 2, 3, 4, 5, 6 and 8

# Of images without PAN, by their band count: which bands make a case, and its ratios by how many.
_SUBSETS = {
    4: ((0, 1, 2), (0, 1, 2, 3), (2,), (0, 3)),
    6: ((0, 1, 2, 3, 4, 5),),
    8: ((0, 2, 3, 5, 7),),
}
_RATIOS = {1: (4, 2), 2: (3, 4), 3: (2, 4), 4: (6, 4), 5: (4, 3), 6: (2, 3)}


@dataclass(frozen=True)
class Case:
    """A pair with truth."""

    name: str
    pan: Tensor  # [1, 1, H, W] DN
    ms: Tensor  # [1, C, H / ratio, W / ratio]
    gt: Tensor  # [1, C, H, W]
    ratio: int
    gains: tuple[float, ...]  # [C]
    wavelengths: tuple[Wavelengths | None, ...]  # [C]
    pan_gain: PanGain | None  # what is told

    @property
    def sensor(self) -> Sensor:
        """With the gains that the MS image was made with."""
        names = tuple(f"band {index + 1}" for index in range(len(self.gains)))
        return Sensor(
            UNKNOWN, len(names), self.ratio, 16, self.gains, 0.15, names, self.wavelengths
        )

    @property
    def phase(self) -> tuple[float, float]:
        return (float(self.ratio // 2),) * 2


def held_out(source: Source) -> bool:
    return bool({source.name.split(",")[0], source.group} & set(HELD_OUT))


def training_sources(scenes: Path | None, pairs: Path | None, ms_only: Path | None) -> list[Source]:
    """Everything of the folders that is not held out."""
    every = [*_pairs_of(scenes, pairs), *_ms_of(ms_only)]
    kept = [source for source in every if not held_out(source)]
    return [
        southern(source, SOUTH, keep_south=False) if source.name in HELD_OUT_SOUTH else source
        for source in kept
    ]


def _pairs_of(*folders: Path | None) -> list[Source]:
    return [source for folder in folders if folder for source in pair_sources(folder)]


def _ms_of(folder: Path | None) -> list[Source]:
    return ms_sources(folder) if folder else []


def cases(
    scenes: Path | None, pairs: Path | None, ms_only: Path | None, side: int = SIDE
) -> Iterator[Case]:
    """The cases of what is held out of the folders, ``side`` pixels a side at most."""
    for source in _pairs_of(scenes, pairs):
        if source.name in HELD_OUT_SOUTH:
            yield from _native(_cropped(southern(source, SOUTH, keep_south=True), side))
        elif held_out(source):
            yield from _native(_cropped(source, side))
    for source in _ms_of(ms_only):
        if not held_out(source):
            continue
        count = len(source.bands)
        if count > 20:
            chosen = tuple(range(4, count, 7))[:10]
            yield from _summed(_cropped(source, side), chosen, (2,))
            continue
        for chosen in _SUBSETS[count]:
            yield from _summed(_cropped(source, side), chosen, _RATIOS[len(chosen)])


def _native(source: Source) -> Iterator[Case]:
    assert source.pans is not None
    own = 0.15
    variants: dict[PanGain | None, int] = (
        {"bicubic": 0, own: 1 + PAN_GAINS.index(own)}
        if len(source.pans) > 1
        else {source.pan_gains[0]: 0}
    )
    ratios = (2, 3) if "l8" in source.name or "landsat" in source.name else (4, 3)
    for told, variant in variants.items():
        for ratio in ratios if len(source.pans) > 1 else (4,):
            yield case_of(
                source, tuple(range(len(source.bands))), source.pans[variant], told, ratio
            )


def _summed(source: Source, chosen: tuple[int, ...], ratios: tuple[int, ...]) -> Iterator[Case]:
    """PAN as the mean of the visible and near infrared bands, as sharp as a real one."""
    seen = [
        index
        for index, limits in enumerate(source.wavelengths)
        if limits is None or 450 < sum(limits) / 2 < 800
    ]
    pan = source.bands[seen].mean(0, keepdim=True)
    gain = mean_gain(source.gains)
    for ratio, told in zip(ratios, (0.15, gain), strict=False):
        blurred = equalised(pan[None], gain, told, ratio)[0, 0]
        yield case_of(source, chosen, blurred, told, ratio)


def case_of(
    source: Source, chosen: tuple[int, ...], pan: Tensor, told: PanGain | None, ratio: int
) -> Case:
    """The bands ``chosen`` of a source with one of its PANs [H, W], as large as fits."""
    height, width = (side // (8 * ratio) * 8 * ratio for side in pan.shape)
    gt = source.bands[list(chosen), :height, :width][None]
    gains = tuple(source.gains[index] for index in chosen)
    said = told if isinstance(told, str) else "-" if told is None else f"{told:.2g}"
    return Case(
        f"{source.name} {len(chosen)}b r{ratio} {said}",
        pan[None, None, :height, :width],
        degrade_ms(gt, gains, ratio),
        gt,
        ratio,
        gains,
        tuple(source.wavelengths[index] for index in chosen),
        told,
    )


def _cropped(source: Source, side: int) -> Source:
    height, width = source.bands.shape[-2:]
    top, left = (max(length - side, 0) // 2 for length in (height, width))
    window = (..., slice(top, top + side), slice(left, left + side))
    crop = lambda image: None if image is None else image[window]  # noqa: E731
    return Source(
        source.name,
        source.group,
        source.bands[window],
        source.wavelengths,
        source.gains,
        crop(source.pans),
        source.pan_gains,
        crop(source.crisp),
    )
