import numpy as np
import pytest
import torch

from ksdiff import Sharpener
from ksdiff.images.pair import ArrayPair
from ksdiff.images.translation import shift
from ksdiff.inference.preview import Preview
from ksdiff.inference.scene import PreparedScene
from ksdiff.io.geotiff import write_scene
from ksdiff.sensors import sensor_for
from ksdiff.synthetic.scene import procedural_scene


class Counting(ArrayPair):
    """Counts how often each PAN pixel is read."""

    descriptions = (None,) * 4

    def __init__(self, *images):
        super().__init__(*images)
        self.counts = np.zeros(self.shape, dtype=int)

    def read(self, top=0, left=0, height=None, width=None):
        patch = super().read(top, left, height, width)
        rows, columns = patch.pan.shape[-2:]
        self.counts[top : top + rows, left : left + columns] += 1
        return patch


@pytest.fixture(scope="module")
def images():
    """Pan [1, 1024, 1024], off by a pixel, and ms [4, 256, 256]."""
    pan, ms, _ = procedural_scene(seed=4, size=1024, bands=4)
    moved = shift(torch.from_numpy(pan.astype("float32"))[None], 1.0, -0.75)[0]
    return moved, torch.from_numpy(ms.astype("float32"))


def test_a_pixel_is_read_for_the_survey_for_samples_and_for_its_windows(images, quick):
    pair = Counting(*images)
    sharpener = Sharpener(quick, device="cpu", tile=512)
    scene = sharpener.prepare(pair)
    assert scene.shift != (0.0, 0.0)
    # Once for the survey; samples lie apart, and the margins around them overlap at most.
    assert pair.counts.min() == 1 and np.median(pair.counts) <= 2
    before = pair.counts.copy()
    preview = Preview(pair, scene)
    for part in sharpener.windows(scene):
        preview.add(part)
    # Inside a window once; twice or four times only where windows with their margins overlap.
    extra = pair.counts - before
    assert extra.min() == 1 and (extra == 1).mean() > 0.6


def test_a_prepared_scene_gives_what_sharpening_its_images_gives(images, shaken):
    pan, ms = images
    sharpener = Sharpener(shaken, device="cpu")
    scene = sharpener.prepare(ArrayPair(pan, ms))
    assert torch.equal(sharpener.fuse(scene), sharpener.sharpen(pan, ms))


def test_samples_are_the_windows_of_the_registered_pair(images):
    pan, ms = images
    scene = PreparedScene.of(ArrayPair(pan, ms), sensor_for(None, 4, 4))
    assert len(scene.samples) == len(scene.inputs.pan) == 8
    whole = scene.pair.read().pan[0, 0]
    for (sample,), _ in scene.samples:
        corners = (whole == sample[0, 0, 0]).nonzero().tolist()
        assert any(torch.equal(whole[y : y + 256, x : x + 256], sample[0]) for y, x in corners)


def test_bands_without_pans_detail_are_told(tmp_path):
    pan, ms, _ = procedural_scene(3, 256, 4)
    ms[1] = ms[1, ::-1, ::-1]
    write_scene(tmp_path, "a", pan, ms, descriptions=("blue", "other", "red", "nir"))
    scene = PreparedScene.of(ArrayPair(pan.astype("f4"), ms.astype("f4")), sensor_for(None, 4, 4))
    assert scene.unrelated == (1,)
    done = Sharpener(method="exp").sharpen_files(
        tmp_path / "a_pan.tif", tmp_path / "a_ms.tif", tmp_path / "out.tif"
    )
    assert "the detail of band other has nothing in common with PAN's" in done.notes[-1]
