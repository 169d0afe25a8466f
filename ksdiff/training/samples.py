"""Training samples by number: sample i of a seed is the same whenever and wherever it is made."""

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from ksdiff.config import Config, DataConfig, ModelConfig
from ksdiff.errors import KSDiffError
from ksdiff.io.pancollection import PanCollection
from ksdiff.training.augment import Sample, sample
from ksdiff.training.held_out import training_sources
from ksdiff.training.pairs import CollectionPairs, TruthPair, load_pairs
from ksdiff.training.scenarios import Scenario, Scenarios
from ksdiff.training.sources import halved, large_enough

Pairs = Sequence[TruthPair] | CollectionPairs

_DEFAULT_DATA = "../shared/data"


def data_path(text: str) -> Path:
    """A path of the config with ``${KSDIFF_DATA}`` and other variables filled in."""
    return Path(os.path.expandvars(text.replace("${KSDIFF_DATA}", _data_root())))


def source_folders(data: DataConfig) -> tuple[Path | None, Path | None, Path | None]:
    """Scenes, pairs and MS-only images of a network for any bands; None where the config has ""."""
    return _folder(data.scenes), _folder(data.pairs), _folder(data.ms_only)


def _folder(text: str) -> Path | None:
    return data_path(text) if text else None


def _data_root() -> str:
    return os.environ.get("KSDIFF_DATA", _DEFAULT_DATA)


class Samples(Dataset):
    """Crops of training pairs; scenes are drawn by the square root of their area."""

    def __init__(self, config: Config, length: int) -> None:
        self.config, self.length = config, length
        self.own, self.other = _sources(config)
        self.own_weights = _weights(self.own)
        self.other_weights = _weights(self.other)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng((self.config.training.seed, index))
        mixed = len(self.other) and rng.random() < self.config.data.mixed_bands
        pairs, weights = (self.other, self.other_weights) if mixed else (self.own, self.own_weights)
        pair = pairs[int(rng.choice(len(pairs), p=weights))]
        return sample(pair, self.config.data, _fixed(self.config.model)[0], rng)


class ScenarioSamples(Dataset):
    """Samples for networks that take any bands, made a batch at a time.

    Bands and ratio are the same for all samples of a training step; the rest is each sample's own,
    so that a part of a batch holds the same samples as the whole.
    """

    def __init__(self, config: Config, length: int) -> None:
        self.length, self.batch, self.seed = length, config.training.batch, config.training.seed
        self.scenarios = _scenarios(*source_folders(config.data))

    def __len__(self) -> int:
        return self.length

    def __getitems__(self, indices: list[int]) -> list[Sample]:
        shared = np.random.default_rng((self.seed, 1, indices[0] // self.batch))
        scenario = Scenario.drawn(shared)
        turn, centred = int(shared.integers(8)), bool(shared.random() < 0.5)
        rngs = [np.random.default_rng((self.seed, 2, index)) for index in indices]
        return [self.scenarios.batch(scenario, turn, centred, rngs)]


@lru_cache(maxsize=1)
def _scenarios(scenes: Path | None, pairs: Path | None, ms_only: Path | None) -> Scenarios:
    sources = training_sources(scenes, pairs, ms_only)
    usable = [source for source in (*sources, *map(halved, sources)) if large_enough(source)]
    if not usable:
        raise KSDiffError(
            "data: expected images to learn from in scenes, pairs or ms_only, found none that are "
            "large enough and not held out"
        )
    return Scenarios(usable)


def _fixed(model: ModelConfig) -> tuple[int, int]:
    """Bands and ratio of a network that takes no others."""
    if model.bands == "any" or model.ratio == "any":
        raise KSDiffError(
            f"model.ratio: with bands: {model.bands} expected a number, got {model.ratio!r}"
        )
    return model.bands, model.ratio


def _sources(config: Config) -> tuple[Pairs, Pairs]:
    data, (bands, ratio) = config.data, _fixed(config.model)
    if data.train_h5:
        source = PanCollection(data_path(data.train_h5), data.sensor)
        if source.sensor.bands != bands:
            raise KSDiffError(
                f"{source.path}: {source.sensor.bands} bands, but model.bands is {bands}"
            )
        patches = CollectionPairs(source)
        height, width = patches[0].gt.shape[-2:]
        if min(height, width) < data.crop:
            raise KSDiffError(
                f"{source.path}: patches of {height} x {width} pixels are smaller than the crop of "
                f"{data.crop}; lower data.crop"
            )
        return patches, []
    pairs = load_pairs(
        data_path(data.scenes),
        ratio,
        data.exclude,
        data.crop,
        data.halved,
        data.bicubic_pan,
        data.least_gain,
    )
    own = [pair for pair in pairs if pair.gt.shape[1] == bands]
    other = [pair for pair in pairs if pair.gt.shape[1] != bands]
    if not own:
        raise KSDiffError(
            f"{data_path(data.scenes)}: expected scenes of {bands} bands (model.bands), "
            f"found {sorted({pair.gt.shape[1] for pair in pairs})}"
        )
    return own, other if data.mixed_bands else []


def _weights(pairs: Pairs) -> np.ndarray | None:
    if isinstance(pairs, CollectionPairs):
        return None
    areas = np.array([pair.gt.shape[-2] * pair.gt.shape[-1] for pair in pairs], dtype=float)
    return areas**0.5 / (areas**0.5).sum()
