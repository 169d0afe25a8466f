"""Files like PanCollection's."""

import h5py
import numpy as np
import torch

from ksdiff.images.expansion import interp23tap
from ksdiff.synthetic.scene import procedural_scene


def patches(count=3, bands=8, size=64, sensor="wv3"):
    """gt, ms, lms, pan as in the published files: float64, lms by interp23tap."""
    pan, ms, gt = procedural_scene(5, 256, bands, sensor=sensor)
    at = [(0, 0), (64, 128), (192, 64), (128, 0), (0, 192), (64, 64)][:count]
    cut = lambda image, y, x, side: image[:, y : y + side, x : x + side].astype(float)  # noqa: E731
    lms = interp23tap(torch.from_numpy(ms.astype(float))[None], 4)[0].numpy()
    return {
        "gt": np.stack([cut(gt, y, x, size) for y, x in at]),
        "ms": np.stack([cut(ms, y // 4, x // 4, size // 4) for y, x in at]),
        "lms": np.stack([cut(lms, y, x, size) for y, x in at]),
        "pan": np.stack([cut(pan, y, x, size) for y, x in at]),
    }


def write_h5(path, arrays, **changes):
    with h5py.File(path, "w") as file:
        for key, values in {**arrays, **changes}.items():
            if values is not None:
                file[key] = values
    return path


def shifted(arrays):
    """As in QuickBird's files: two of three patches are one pixel off."""
    ms = arrays["ms"].copy()
    ms[0] = np.roll(ms[0], (1, 0), (-2, -1))
    ms[2] = np.roll(ms[2], (-1, 1), (-2, -1))
    return {**arrays, "ms": ms}
