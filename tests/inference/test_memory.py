import subprocess
import sys
from pathlib import Path

import pytest
import rasterio
from rasterio.transform import Affine

from ksdiff.synthetic.scene import procedural_scene
from tests.support import PAN_GRID, ROOT, UTM

SCRIPT = """
import re, sys
from pathlib import Path
import torch
from ksdiff import Sharpener
from tests.support.inference import HighPassModulation

torch.set_num_threads(2)
Sharpener(HighPassModulation(8)).sharpen_files(*sys.argv[1:])
# Not getrusage's maximum: a process inherits that from the one that started it.
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 2**20)
"""


def write_repeated(path, values, times, transform):
    """The same values [C, h, w] again and again in both directions."""
    count, height, width = values.shape
    profile = {"count": count, "height": height * times, "width": width * times}
    profile |= {"dtype": "uint16", "transform": transform, "crs": UTM, "driver": "GTiff"}
    profile |= {"tiled": True, "blockxsize": 256, "blockysize": 256}
    with rasterio.open(path, "w", **profile) as file:
        for i in range(times):
            for j in range(times):
                window = ((i * height, (i + 1) * height), (j * width, (j + 1) * width))
                file.write(values, window=window)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_a_large_scene_of_eight_bands_is_streamed(tmp_path):
    """Held whole, the result alone would be 512 MiB, and its inputs as much again and more.

    The bound leaves room for a network's activations within 3 GiB; it is a window's affair.
    """
    pan, ms, _ = procedural_scene(0, 512, 8)
    write_repeated(tmp_path / "pan.tif", pan, 8, PAN_GRID)
    grid = PAN_GRID @ Affine.translation(0.5, 0.5) @ Affine.scale(4)
    write_repeated(tmp_path / "ms.tif", ms, 8, grid)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *(str(tmp_path / f"{n}.tif") for n in ("pan", "ms", "out"))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1.0
    with rasterio.open(tmp_path / "out.tif") as file:
        assert (file.count, file.shape) == (8, (4096, 4096))
