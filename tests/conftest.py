import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from tests.support import PAN_GRID, ROOT, UTM


@pytest.fixture(scope="session")
def real_scenes() -> Path:
    """The folder of real scenes, with ``train`` and ``val`` in it."""
    folder = Path(os.environ.get("KSDIFF_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / "val" / "scenes.json").exists():
        pytest.skip(f"no real scenes in {folder}; KSDIFF_DATA names their folder")
    return folder


@pytest.fixture(scope="session")
def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A small procedural scene: pan [1, 256, 256], ms [4, 64, 64], gt [4, 256, 256]."""
    from ksdiff.synthetic.scene import procedural_scene

    return procedural_scene(seed=3, size=256, bands=4)


@pytest.fixture
def write(tmp_path):
    """Write an array [C, H, W] as NAME.tif by its affine transform; return the path."""
    from ksdiff.io.geotiff import write_raster

    def write_file(name: str, values: np.ndarray, transform=PAN_GRID, crs=UTM, **tags) -> Path:
        path = tmp_path / f"{name}.tif"
        write_raster(path, values, transform=transform, crs=crs, **tags)
        return path

    return write_file


@pytest.fixture
def served(tmp_path):
    """``tmp_path`` over HTTP: its address, and a function that tells how many bytes were sent."""
    command = [sys.executable, str(ROOT / "tests" / "support" / "server.py"), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        address = f"http://127.0.0.1:{int(process.stdout.readline())}"
        yield address, lambda: int(urllib.request.urlopen(f"{address}/sent").read())
        process.kill()
