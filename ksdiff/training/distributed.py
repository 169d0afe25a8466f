"""Equal parts of a batch: distributed over processes, and accumulated in each of them.

What a step computes does not depend on how its batch is cut: part k of n holds samples
[k * size, (k + 1) * size) of the batch, and the noise that belongs to them.
"""

import os
from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from ksdiff.config import TrainingConfig
from ksdiff.errors import KSDiffError


class World(NamedTuple):
    """The processes that train together, from torchrun's variables; one without them."""

    local: int  # processes on this machine
    machines: int

    @classmethod
    def of_environment(cls) -> "World":
        every = int(os.environ.get("WORLD_SIZE", 1))
        local = int(os.environ.get("LOCAL_WORLD_SIZE", every))
        return cls(local, every // local)

    @property
    def size(self) -> int:
        return self.local * self.machines


class Parts(NamedTuple):
    """What one process does of every batch."""

    world: int
    rank: int
    accumulate: int  # parts that a process takes one after another
    size: int  # samples of a part

    @classmethod
    def of(cls, training: TrainingConfig, world: int, rank: int) -> "Parts":
        """Raises KSDiffError where the batch cannot be cut equally."""
        count = world * training.accumulate
        if training.batch % count:
            raise KSDiffError(
                f"training.batch: {training.batch} samples cannot be cut into equal parts for "
                f"{world} processes that accumulate {training.accumulate} each; choose a multiple "
                f"of {count}"
            )
        return cls(world, rank, training.accumulate, training.batch // count)

    @property
    def parts(self) -> int:
        """Of a whole batch."""
        return self.world * self.accumulate

    def part(self, turn: int) -> "Part":
        return Part(turn * self.world + self.rank, self.parts)

    def batches(self, first: int, last: int) -> "Batches":
        return Batches(self, first, last)


class Part(NamedTuple):
    number: int
    parts: int

    def rows(self, whole: Tensor) -> Tensor:
        """This part's share of a whole batch's rows."""
        return whole.chunk(self.parts)[self.number]


WHOLE = Part(0, 1)


class Batches:
    """Sample numbers of this process's parts, in the order of training; a batch sampler."""

    def __init__(self, parts: Parts, first: int, last: int) -> None:
        self.parts, self.first, self.last = parts, first, last

    def __len__(self) -> int:
        return (self.last - self.first) * self.parts.accumulate

    def __iter__(self) -> Iterator[list[int]]:
        size, count = self.parts.size, self.parts.parts
        for step in range(self.first, self.last):
            for turn in range(self.parts.accumulate):
                start = (step * count + self.parts.part(turn).number) * size
                yield list(range(start, start + size))
