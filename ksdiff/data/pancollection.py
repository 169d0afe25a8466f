"""PanCollection's HDF5 files: keys gt, ms, lms, pan, each [N, C, H, W] in digital numbers."""

from pathlib import Path

import h5py
import torch

from ksdiff.data.pairs import TruthPair
from ksdiff.errors import KSDiffError
from ksdiff.sensors import get_sensor

_KEYS = ("gt", "ms", "pan")


class PanCollection:
    """The patches of a training or validation file, read one by one.

    Args:
        path: the .h5 file.
        sensor: its sensor's name (wv2, wv3, gf2, qb): the file does not say.

    Raises:
        KSDiffError: no such file, not HDF5, a missing key, shapes that do not fit each other or
            the sensor.
    """

    def __init__(self, path: str | Path, sensor: str) -> None:
        self.path, self.sensor = Path(path), get_sensor(sensor)
        if not self.path.exists():
            raise KSDiffError(f"{path}: there is no such file")
        try:
            self._file = h5py.File(self.path, "r")
        except OSError as error:
            raise KSDiffError(f"{path}: not readable as HDF5: {error}") from None
        missing = [key for key in _KEYS if key not in self._file]
        if missing:
            raise KSDiffError(
                f"{path}: expected the datasets {', '.join(_KEYS)}, {missing[0]!r} is missing "
                f"(found {', '.join(self._file) or 'none'})"
            )
        self._check_shapes()

    def _check_shapes(self) -> None:
        gt, ms, pan = (self._file[key].shape for key in _KEYS)
        ratio = self.sensor.ratio
        for key, shape in zip(_KEYS, (gt, ms, pan), strict=True):
            if len(shape) != 4:
                raise KSDiffError(f"{self.path}: {key}: expected [N, C, H, W], got {list(shape)}")
        count, bands, height, width = gt
        if bands != self.sensor.bands:
            raise KSDiffError(
                f"{self.path}: gt: expected {self.sensor.bands} bands ({self.sensor.name}), "
                f"got shape {list(gt)}"
            )
        expected = {
            "ms": (count, bands, height // ratio, width // ratio),
            "pan": (count, 1, height, width),
        }
        for key, shape in (("ms", ms), ("pan", pan)):
            if shape != expected[key]:
                raise KSDiffError(
                    f"{self.path}: {key}: expected {list(expected[key])} to fit gt {list(gt)} at "
                    f"ratio {ratio}, got {list(shape)}"
                )

    def __len__(self) -> int:
        return len(self._file["gt"])

    def __getitem__(self, index: int) -> TruthPair:
        gt, ms, pan = (
            torch.from_numpy(self._file[key][index].astype("float32"))[None] for key in _KEYS
        )
        for key, image in zip(_KEYS, (gt, ms, pan), strict=True):
            if not image.isfinite().all():
                raise KSDiffError(f"{self.path}: {key}[{index}] holds NaN or infinite values")
        ratio = self.sensor.ratio
        phase = (float(ratio // 2),) * 2
        name = f"{self.path.stem}[{index}]"
        return TruthPair(name, pan, gt, ms, phase, self.sensor.ms_gains, ratio)
