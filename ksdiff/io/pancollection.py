"""PanCollection's HDF5 files: keys gt, ms, lms, pan, each [N, C, H, W] in digital numbers."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ksdiff.errors import KSDiffError
from ksdiff.io.repair import shifts_of
from ksdiff.sensors import SENSORS, Sensor, get_sensor

if TYPE_CHECKING:
    import h5py

SUFFIXES = (".h5", ".hdf5")
# Patches of the published files. Those for evaluation at full resolution have no gt.
KNOWN_COUNTS = {
    "wv3": {"training": 9714, "validation": 1080, "test": 20},
    "qb": {"training": 17139, "validation": 1905, "test": 20},
    "gf2": {"training": 19809, "validation": 2201, "test": 20},
}
_LOOKED_AT = 64  # patches read on opening, spread over the file
_SPARE = 1.25  # of the sensor's range: resampling overshoots
_LEAST_DN = 2.0  # values that never exceed it are not digital numbers
_ALIKE = (0.7, 1.4)  # mean of ms over mean of gt


class PanCollection:
    """The patches of a training, validation or test file, read one by one.

    On opening, shapes are checked, and of some patches the values: not finite, of another scale
    than the sensor's, ``ms`` shifted against ``lms``.

    Args:
        path: the .h5 file.
        sensor: its sensor's name (wv2, wv3, gf2, qb): the file does not say.
        truth: whether it must have ``gt``; test files of full resolution do not.

    Raises:
        KSDiffError: no such file, not HDF5, a missing key, axes in another order, shapes or values
            that do not fit each other or the sensor.
    """

    def __init__(self, path: str | Path, sensor: str, truth: bool = True) -> None:
        self.path = Path(path)
        if not sensor:
            raise KSDiffError(
                f"{path}: a PanCollection file does not say its sensor; name it "
                "(data.sensor in a config, --sensor on the command line)"
            )
        self.sensor: Sensor = get_sensor(sensor)
        if not self.path.exists():
            raise KSDiffError(f"{path}: there is no such file")
        try:
            self._file, self._owner = _opened(self.path), os.getpid()
        except OSError as error:
            raise KSDiffError(f"{path}: not readable as HDF5: {error}") from None
        self.truth = truth or "gt" in self._file
        self._keys = ("gt", "ms", "pan") if self.truth else ("ms", "pan")
        missing = [key for key in self._keys if key not in self._file]
        if missing:
            raise KSDiffError(
                f"{path}: expected the datasets {', '.join(self._keys)}, {missing[0]!r} is missing "
                f"(found {', '.join(self._file) or 'none'})"
            )
        self._check_shapes()
        looked_at = np.unique(np.linspace(0, len(self) - 1, _LOOKED_AT).astype(int))
        self._check_values(looked_at)
        self._check_positions(looked_at)

    def _data(self, key: str) -> "h5py.Dataset":
        # An open HDF5 file does not survive a fork, as of a loader's workers.
        if self._owner != os.getpid():
            self._file, self._owner = _opened(self.path), os.getpid()
        return self._file[key]

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_file": None, "_owner": None}

    def _check_shapes(self) -> None:
        shapes = {key: self._file[key].shape for key in self._keys}
        ratio, bands = self.sensor.ratio, self.sensor.bands
        for key, shape in shapes.items():
            if len(shape) != 4:
                raise KSDiffError(f"{self.path}: {key}: expected [N, C, H, W], got {list(shape)}")
        name = "gt" if self.truth else "ms"
        count, found, height, width = shapes[name]
        if found != bands:
            raise KSDiffError(f"{self.path}: {name}: {self._other_bands(shapes[name])}")
        if not count:
            raise KSDiffError(f"{self.path}: {name}: holds no patches, shape {list(shapes[name])}")
        if not self.truth:
            height, width = height * ratio, width * ratio
        expected = {
            "ms": (count, bands, height // ratio, width // ratio),
            "pan": (count, 1, height, width),
        }
        for key, shape in expected.items():
            if shapes[key] != shape:
                raise KSDiffError(
                    f"{self.path}: {key}: expected {list(shape)} to fit {name} "
                    f"{list(shapes[name])} at ratio {ratio}, got {list(shapes[key])}"
                )

    def _other_bands(self, shape: tuple[int, ...]) -> str:
        bands = self.sensor.bands
        what = f"expected {bands} bands ({self.sensor.name}), got shape {list(shape)}"
        if shape[3] == bands:
            return f"{what}: the axes look like [N, H, W, C]; transpose to [N, C, H, W]"
        if shape[2] == bands:
            return f"{what}: the axes look like [H, W, C, N]; transpose to [N, C, H, W]"
        alike = [s.name for s in SENSORS.values() if s.bands == shape[1] and s.name in KNOWN_COUNTS]
        return f"{what}: is it of {' or '.join(alike)}?" if alike else what

    def _check_values(self, looked_at: np.ndarray) -> None:
        highest = 2.0**self.sensor.bits - 1
        means = {}
        for key in self._keys:
            values = self._data(key)[looked_at]
            bad = ~np.isfinite(values).all((1, 2, 3))
            if bad.any():
                raise KSDiffError(
                    f"{self.path}: {key}[{looked_at[bad][0]}] holds NaN or infinite values"
                )
            low, high, means[key] = values.min(), values.max(), values.mean()
            if high < _LEAST_DN:
                raise KSDiffError(
                    f"{self.path}: {key}: values reach {high:.4g}; expected digital numbers up to "
                    f"{highest:.0f} ({self.sensor.name}): multiply by what they were divided by"
                )
            if high > _SPARE * highest or low < (1 - _SPARE) * highest:
                raise KSDiffError(
                    f"{self.path}: {key}: values from {low:.4g} to {high:.4g}; expected digital "
                    f"numbers of {self.sensor.name}, 0 to {highest:.0f}: is it another sensor's?"
                )
        if self.truth:
            ratio = means["ms"] / means["gt"]
            if not _ALIKE[0] < ratio < _ALIKE[1]:
                raise KSDiffError(
                    f"{self.path}: ms has the mean {means['ms']:.4g}, gt {means['gt']:.4g}: they "
                    "are not of one scale or not of the same place"
                )

    def _check_positions(self, looked_at: np.ndarray) -> None:
        if "lms" not in self._file or not self.truth:
            return
        lms, ms = (self._data(key)[looked_at] for key in ("lms", "ms"))
        shifted = int(shifts_of(ms, lms).any(1).sum())
        if shifted:
            raise KSDiffError(
                f"{self.path}: ms is one pixel off its lms in {shifted} of {len(looked_at)} "
                "patches checked, as in the published QuickBird files; repair them with: "
                f"ksdiff data repair {self.path} --out REPAIRED.h5"
            )

    def describe(self) -> str:
        """One line: how many patches of what size, and whether that is a published set."""
        count, _, height, width = self._data("pan").shape
        known = KNOWN_COUNTS.get(self.sensor.name, {})
        name = next((name for name, size in known.items() if size == count), None)
        if name:
            origin = f"as many as the published {name} set"
        elif known:
            counts = ", ".join(f"{name} {size}" for name, size in known.items())
            origin = f"none of the published counts ({counts})"
        else:
            origin = "no published counts to compare with"
        kind = "with truth" if self.truth else "without truth"
        return (
            f"{self.path}: {count} patches of {height} x {width} {kind}, {self.sensor.bands} bands "
            f"({self.sensor.name}); {origin}"
        )

    def __len__(self) -> int:
        return len(self._data("pan"))

    def name(self, index: int) -> str:
        return f"{self.path.stem}[{index}]"

    def images(self, index: int) -> dict[str, Tensor]:
        """pan [1, 1, H, W], ms [1, C, h, w] and, with truth, gt [1, C, H, W], float32."""
        images = {
            key: torch.from_numpy(self._data(key)[index].astype("float32"))[None]
            for key in self._keys
        }
        for key, image in images.items():
            if not image.isfinite().all():
                raise KSDiffError(f"{self.path}: {key}[{index}] holds NaN or infinite values")
        return images


def _opened(path: Path) -> "h5py.File":
    import h5py  # only here: commands that read no such file start sooner

    return h5py.File(path, "r")
