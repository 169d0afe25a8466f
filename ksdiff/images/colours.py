"""Which bands are red, green and blue, and how their values become a picture."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_PERCENTILES = (1, 99)
_MEDIAN_GREY = 0.35  # of a stretched image, as far as the gamma may go
_LEAST_GAMMA = 0.5


def colour_bands(bands: int, *names: tuple[str | None, ...]) -> list[int]:
    """Indexes of red, green and blue.

    Args:
        names: of the bands, by their file or their sensor. The first that name all three colours
            decide, else what is usual.
    """
    for known in names:
        lower = [(name or "").lower() for name in known]
        if len(lower) == bands and {"red", "green", "blue"} <= set(lower):
            return [lower.index(colour) for colour in ("red", "green", "blue")]
    usual = {2: [1, 0, 0], 3: [0, 1, 2], 8: [4, 2, 1]}
    return usual.get(bands, [2, 1, 0])


class Stretch(NamedTuple):
    """Maps values to a picture; images that are shown together share one."""

    black: np.ndarray  # per band
    white: np.ndarray
    gamma: float

    @classmethod
    def of(cls, values: np.ndarray) -> Stretch:
        """For an image [C, h, w] with NaN where there is no data.

        Clouds and metal roofs make most of a scene dark; one gamma for all bands lifts it.
        """
        known = values[:, np.isfinite(values).all(0)]
        if not known.size:
            known = np.zeros((len(values), 1))
        black, white = np.percentile(known, _PERCENTILES, axis=1)
        white = np.where(white > black, white, black + 1)
        middle = np.median(np.clip((known - black[:, None]) / (white - black)[:, None], 0.01, 0.99))
        gamma = np.clip(np.log(_MEDIAN_GREY) / np.log(middle), _LEAST_GAMMA, 1)
        return cls(black, white, float(gamma))

    def apply(self, values: np.ndarray) -> np.ndarray:
        """[C, h, w] to the same shape in 0..1; NaN stays."""
        black, white = self.black[:, None, None], self.white[:, None, None]
        return np.clip((values - black) / (white - black), 0, 1) ** self.gamma
