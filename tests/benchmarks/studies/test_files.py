"""Drawn scenes of any size, commands as processes, and windows fused alone."""

import signal
import sys
import time

import numpy as np
import pytest
import rasterio

from benchmarks.measure import run_command
from benchmarks.studies import files, large
from benchmarks.studies.drawing import draw
from ksdiff.errors import KSDiffError
from ksdiff.io.rasters import open_pair

HOLDS = "import time; x = bytearray(200 * 2**20); time.sleep(0.5)"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLDS!r}])"


def test_a_drawn_scene_is_a_pair_that_goes_on_across_its_mirrors(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.studies.drawing._PATTERN", 128)
    with open_pair(*draw(tmp_path, 320, 3)) as pair:
        assert (pair.ratio, pair.phase, pair.bands, pair.shape) == (4, (1.5, 1.5), 3, (320, 320))
        patch = pair.read()
    for image, border in ((patch.pan[0], 128), (patch.ms[0], 32)):
        steps = image.diff(dim=1).abs().mean((0, 2)).numpy()
        # Mirrored, the two rows at a border differ by their noise alone.
        assert steps[border - 1] < 4
        values = image.numpy()
        one, other = values[:, border - 9 : border - 1], values[:, border + 1 : border + 9][:, ::-1]
        assert np.abs(one - other).mean() < 5 < values.std()


def test_a_process_is_measured_with_its_children():
    done = run_command([sys.executable, "-c", PARENT])
    assert done.status == 0 and 0.4 < done.seconds < 60
    assert 200 * 2**20 < done.peak_bytes < 300 * 2**20


def test_a_process_is_ended_when_it_is_enough_and_its_failure_is_told(tmp_path):
    began = time.perf_counter()
    command = [sys.executable, "-c", "import time; print('x', flush=True); time.sleep(600)"]
    log = tmp_path / "log"
    done = run_command(command, log, lambda process: log.stat().st_size > 0, signal.SIGKILL)
    assert done.status == -signal.SIGKILL and time.perf_counter() - began < 60
    with pytest.raises(KSDiffError, match="exit status 3"):
        run_command([sys.executable, "-c", "raise SystemExit(3)"])


def test_windows_fused_alone_agree_with_a_file_unless_it_shows_a_seam(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.studies.drawing._PATTERN", 256)
    monkeypatch.setattr(large, "_PLACES", 1)
    drawn, out = draw(tmp_path, 768, 4), tmp_path / "fused.tif"
    large.Sharpener().sharpen_files(*drawn, out)
    found = large.compared(drawn, out)
    assert found["differs_most"] <= found["differs_bound"]
    with rasterio.open(out, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        values = file.read()
        values[:, :, 525:] += 6  # amid the pixels over which the first two windows blend
        file.write(values)
    seam = large.compared(drawn, out)
    assert seam["differs_most"] > seam["differs_bound"]


def test_loops_end_with_the_measurement():
    with files.looping(1) as loops:
        assert loops[0].poll() is None
    assert loops[0].poll() is not None
