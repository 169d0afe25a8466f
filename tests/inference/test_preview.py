import numpy as np
import pytest
from matplotlib import image as png

from ksdiff import Sharpener
from ksdiff.images.colours import colour_bands
from ksdiff.inference.preview import Arrows
from ksdiff.io.geotiff import write_scene
from ksdiff.sensors import get_sensor
from ksdiff.synthetic.scene import procedural_scene
from tests.support.registration import drawn, smooth_shifts, warped


def preview(folder, scene, model, **tags) -> np.ndarray:
    write_scene(folder, "a", *scene, **tags)
    Sharpener(model).sharpen_files(
        folder / "a_pan.tif", folder / "a_ms.tif", folder / "a.tif", preview=folder / "a.png"
    )
    return png.imread(folder / "a.png")[..., :3]


def panels(picture: np.ndarray, side: int) -> list[np.ndarray]:
    """The three panels of the first row, by the layout: 8 pixels apart under a title of 26."""
    return [picture[26 : 26 + side, 8 + k * (side + 8) :][:, :side] for k in range(3)]


def test_a_small_scene_is_shown_pixel_by_pixel(tmp_path, scene, quick):
    picture = preview(tmp_path, scene, quick)
    assert picture.shape == (256 + 26 + 8, 3 * 256 + 4 * 8, 3)
    ms, pan, fused = panels(picture, 256)
    order = np.argsort(scene[0].ravel())
    assert (np.diff(pan[..., 0].ravel()[order]) >= 0).all()
    assert 0.3 < np.median(pan) < 0.6
    blocks = ms.reshape(64, 4, 64, 4, 3)
    assert (blocks == blocks[:, :1, :, :1]).all()
    assert np.abs(fused - ms).mean() < 0.1


def test_ms_and_fused_share_one_stretch(tmp_path, scene, quick):
    ms, _, fused = panels(preview(tmp_path, scene, quick), 256)
    assert np.allclose(ms.mean((0, 1)), fused.mean((0, 1)), atol=0.02)
    red = scene[1][2]
    assert (np.diff(ms[::4, ::4, 0].ravel()[np.argsort(red.ravel())]) >= 0).all()


def test_pixels_without_data_are_white(tmp_path, scene, quick):
    pan, ms, _ = scene
    ms = ms.copy()
    ms[:, 20:30, 10:30] = 3000
    for panel in panels(preview(tmp_path, (pan, ms), quick, nodata=3000), 256)[::2]:
        assert (panel[80:120, 40:120] == 1).all()
        assert not (panel[:80] == 1).all((1, 2)).any()


def test_a_large_scene_gets_an_overview_and_its_most_detailed_part(tmp_path, quick):
    pan, ms, _ = procedural_scene(0, 768, 4)
    dull = pan.mean() + 0.2 * (pan - pan.mean())
    dull[:, 96:416, 384:704] = pan[:, 96:416, 384:704]
    picture = preview(tmp_path, (dull.astype("uint16"), ms), quick)
    assert picture.shape == (2 * (640 + 26) + 8, 3 * 640 + 4 * 8, 3)
    zoomed = picture[26 + 640 + 26 :][:640, 8 + 648 :][:, :640]
    part = pan[0, 96:416, 384:704]
    assert (np.diff(zoomed[::2, ::2, 0].ravel()[np.argsort(part.ravel())]) >= 0).all()


def test_arrows_show_how_pan_was_moved_and_crosses_where_nothing_is_seen(tmp_path):
    pan, ms = drawn(5, 512)
    pan = warped(pan, smooth_shifts(1, 512, 4.0))
    pan[:, :, :128] = 300
    write_scene(tmp_path, "a", *(image.numpy().astype("uint16") for image in (pan, ms)))
    files = [tmp_path / name for name in ("a_pan.tif", "a_ms.tif", "a.tif")]
    done = Sharpener(method="exp").sharpen_files(*files, preview=tmp_path / "a.png")
    found = Arrows.of(done.registration, 0.5)
    assert len(found.unseen) and (found.unseen[:, 1] < 70).all()
    assert np.hypot(*found.steps.T).max() == pytest.approx(60, rel=0.5)
    shown = np.array([each[:4] for each in done.registration.windows if each.trusted])
    moved = found.steps / found.factor / 0.5
    assert np.median(np.abs(moved + shown[:, 2:])) < 0.2
    middle = panels(png.imread(tmp_path / "a.png")[..., :3], 512)[1]
    assert (middle.max(2) - middle.min(2) > 0.3).any()


@pytest.mark.parametrize(
    ("bands", "names", "expected"),
    [
        (4, ("a", "b", None, "d"), [2, 1, 0]),
        (8, (None,) * 8, [4, 2, 1]),
        (3, (None,) * 3, [0, 1, 2]),
        (5, ("NIR", "Red", "Green", "Blue", "Coastal"), [1, 2, 3]),
        (2, (None,) * 2, [1, 0, 0]),
    ],
)
def test_red_green_and_blue_are_found_by_name_or_by_custom(bands, names, expected):
    assert colour_bands(bands, names) == expected


def test_the_sensor_names_colours_that_the_file_does_not():
    landsat = get_sensor("landsat8").band_names
    assert colour_bands(7, (None,) * 7, landsat) == [3, 2, 1]
