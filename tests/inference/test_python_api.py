"""What docs/python.md promises to programs."""

import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ksdiff import Cancelled, Sharpener, watched
from ksdiff.io.geotiff import write_scene
from tests.support import ROOT


@pytest.fixture
def here(tmp_path, scene, monkeypatch):
    """A current folder with PAN.tif and MS.tif, small."""
    pan, ms = scene[0][:, :128, :128], scene[1][:, :32, :32]
    write_scene(tmp_path, "a", pan, ms)
    for role in ("pan", "ms"):
        (tmp_path / f"a_{role}.tif").rename(tmp_path / f"{role.upper()}.tif")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_examples_run_and_do_what_they_say(here):
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(), re.S)
    assert len(blocks) == 5
    for code in blocks:
        exec(compile(code, "docs/python.md", "exec"), names)
    assert (names["height"], names["width"], names["bands"]) == (128, 128, 4)
    assert tuple(names["fused"].shape) == (4, 128, 128)
    finished = {name: (done, count) for name, done, count in names["told"] if done == count}
    assert finished.keys() == {"Surveying", "Sharpening"}
    assert names["told"][-1][:2] == ("Surveying", 0)
    assert sorted(path.name for path in here.iterdir()) == ["FUSED.tif", "MS.tif", "PAN.tif"]


def test_a_cancelled_call_leaves_an_existing_file_as_it_was(here, quick):
    (here / "FUSED.tif").write_text("precious")
    steps = []
    progress = watched(lambda *at: steps.append(at), lambda: steps[-1][:2] == ("Sharpening", 1))
    with pytest.raises(Cancelled, match="sharpening, step 1 of 1"):
        Sharpener(quick).sharpen_files(
            *("PAN.tif", "MS.tif", "FUSED.tif"), overwrite=True, progress=progress
        )
    assert (here / "FUSED.tif").read_text() == "precious"
    assert len(list(here.iterdir())) == 3


def test_threads_may_share_a_sharpener_on_a_cpu(scene):
    pan, ms, _ = scene
    pairs = [
        (pan[:, at : at + 128, at : at + 128], ms[:, at // 4 :, at // 4 :][:, :32, :32])
        for at in (0, 64, 128)
    ]
    shared = Sharpener("ksdiff-s", device="cpu")
    alone = [shared.sharpen(*pair) for pair in pairs]
    assert not np.allclose(alone[0], alone[1])
    with ThreadPoolExecutor(4) as threads:
        jobs = [threads.submit(shared.sharpen, *pair) for pair in pairs]
        jobs.append(threads.submit(lambda: Sharpener(device="cpu").sharpen(*pairs[0])))
        for job, expected in zip(jobs, [*alone, alone[0]], strict=True):
            np.testing.assert_allclose(job.result(), expected, rtol=1e-5)
