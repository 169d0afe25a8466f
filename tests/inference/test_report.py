"""Reports, read without a browser."""

import base64
import io
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from ksdiff import KSDiffError, Sharpener
from ksdiff.images.expansion import expand
from ksdiff.inference.options import SharpenOptions
from ksdiff.inference.report import gather, judge
from ksdiff.inference.report.gather import Gathered, Histogram, View
from ksdiff.inference.report.page import Content, page
from ksdiff.inference.report.told import Decision
from ksdiff.inference.reporting import report_files
from ksdiff.io.geotiff import write_scene
from ksdiff.io.image import Image, open_dataset
from ksdiff.io.rasters import open_pair
from ksdiff.metrics import full_indexes


def data_of(path) -> dict:
    text = path.read_text()
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.S).group(1))


def picture(uri: str) -> np.ndarray:
    return np.asarray(Picture.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def cube(part: dict, name: str, bands: int) -> np.ndarray:
    spectra = part["spectra"]
    values = np.frombuffer(base64.b64decode(spectra[name]), dtype=np.uint8).astype(float)
    values = values.reshape(bands, len(spectra["rows"]), len(spectra["columns"]))
    low, high = (np.array(spectra[key])[:, None, None] for key in ("low", "high"))
    return np.where(values > 0, low + (values - 1) / 254 * (high - low), np.nan)


@pytest.fixture(scope="module")
def made(tmp_path_factory, scene, quick):
    """A folder with a scene, its fused image and a report."""
    tmp_path = tmp_path_factory.mktemp("report")
    names = ("blue", "green", "red", "<i>nir</i>")
    write_scene(tmp_path, "a", *scene[:2], descriptions=names)
    Sharpener(quick).sharpen_files(
        *(tmp_path / name for name in ("a_pan.tif", "a_ms.tif", "a.tif")),
        report=tmp_path / "a.html",
    )
    return tmp_path


@pytest.fixture
def small_part(monkeypatch):
    """Judge a small part of a scene only."""
    monkeypatch.setattr(judge, "_SIDES", (64,))


def test_a_report_is_one_page_that_asks_for_nothing(made):
    text = (made / "a.html").read_text()
    assert not re.findall(r"<[^>]*\s(?:src|href)=|url\((?!#)|@import|https?://", text)
    assert "default-src 'none'" in text
    assert "&lt;i&gt;nir&lt;/i&gt;" in text
    assert "<i>nir" not in text
    for word in ("Sensor", "Pixels without data", "Place of PAN", "Sharpness of PAN", "software"):
        assert word in text


def test_pictures_and_spectra_are_those_of_the_files(made, scene):
    (whole,) = data_of(made / "a.html")["views"]
    pan = picture(whole["pan"])
    assert pan.shape == (256, 256, 3)
    shown = np.sort(scene[0].ravel())[:: 256 * 16]
    assert np.corrcoef(pan[..., 0].ravel(), scene[0].ravel())[0, 1] > 0.9, shown
    with open_dataset(made / "a.tif", "fused") as file:
        fused = file.read()
    rows, columns = (np.array(whole["spectra"][key]) for key in ("rows", "columns"))
    step = (np.array(whole["spectra"]["high"]) - whole["spectra"]["low"])[:, None, None] / 254
    after = fused[:, rows[:, None], columns]
    assert (abs(cube(whole, "after", 4) - after) <= step).all()
    before = scene[1][:, rows[:, None] // 4, columns // 4]
    assert (abs(cube(whole, "before", 4) - before) <= step).all()
    # The fused picture has the truth's detail, and the MS as interpolated has not.
    sharp = [
        np.abs(np.diff(picture(whole[name]).astype(float), axis=1)).mean()
        for name in ("fused", "ms")
    ]
    assert sharp[0] > 1.2 * sharp[1]


def test_the_indexes_are_those_of_the_whole_scene(made):
    text = (made / "a.html").read_text()
    with open_pair(made / "a_pan.tif", made / "a_ms.tif") as pair:
        scene = Sharpener(method="exp").prepare(pair)
        pan, ms = scene.images(scene.pair.read())
        with open_dataset(made / "a.tif", "fused") as file:
            fused = torch.from_numpy(file.read().astype(np.float32))[None]
        lms = expand(ms, 4, pair.phase, "reflect")
        expected = full_indexes(fused, pan, ms, lms, scene.gains, 4, pair.phase)
    row = re.search(r"<tr><th[^>]*><mark>a model in memory</mark></th>(.*?)</tr>", text).group(1)
    assert re.findall(r"\d\.\d{4}", row) == [f"{value:.4f}" for value in expected.values()]
    for method in ("exp", "gsa", "bdsd-pc", "mtf-glp-hpm"):
        assert f'<th scope="row">{method}</th>' in text


def test_a_shift_of_pan_is_told_and_drawn(tmp_path, scene, quick, small_part):
    pan, ms, _ = scene
    write_scene(tmp_path, "a", np.roll(pan, 1, -1), ms)
    files = [tmp_path / name for name in ("a_pan.tif", "a_ms.tif", "a.tif")]
    done = Sharpener(quick).sharpen_files(*files, report=tmp_path / "a.html")
    assert abs(done.shift[1] - 1) < 0.2
    text = (tmp_path / "a.html").read_text()
    told = "{:+.2f} rows, {:+.2f} columns".format(*done.shift)
    assert told in text
    arrows = re.findall(r'<line class="shift" x1="(.*?)" y1="(.*?)" x2="(.*?)" y2="(.*?)"', text)
    assert arrows
    for x1, y1, x2, y2 in (map(float, each) for each in arrows):
        assert x2 - x1 > 4 * abs(y2 - y1)


def test_pixels_without_data_are_left_out(tmp_path, scene, quick, small_part):
    pan, ms, _ = scene
    ms = ms.copy()
    ms[:, :30] = 0
    write_scene(tmp_path, "a", pan, ms, nodata=0)
    files = [tmp_path / name for name in ("a_pan.tif", "a_ms.tif", "a.tif")]
    Sharpener(quick).sharpen_files(*files, report=tmp_path / "a.html")
    (whole,) = data_of(tmp_path / "a.html")["views"]
    hole = np.array(whole["spectra"]["rows"]) < 120
    for name in ("before", "after"):
        values = cube(whole, name, 4)
        assert (np.isnan(values).all((0, 2)) == hole).all()
    assert abs(picture(whole["fused"])[:112].astype(int) - (203, 208, 214)).max() < 12
    text = (tmp_path / "a.html").read_text()
    assert "46.9%" in text
    judged = re.search(r"PAN pixels at row (\d+)", text)
    assert int(judged.group(1)) >= 120  # below the hole


@pytest.mark.parametrize("empty", ["pair", "fused"])
def test_a_scene_without_valid_pixels_gives_a_page_that_says_so(tmp_path, scene, empty):
    pan, ms, gt = (image[:, :64, :64] for image in scene)
    ms = ms[:, :16, :16]
    write_scene(tmp_path, "a", pan * (empty == "fused"), ms, pan_nodata=0)
    write_scene(tmp_path, "f", pan, ms, gt * (empty == "pair"), nodata=0)
    files = [tmp_path / name for name in ("a_pan.tif", "a_ms.tif", "f_gt.tif", "a.html")]
    assert report_files(*files) is False
    text = (tmp_path / "a.html").read_text()
    assert re.search(r'role="alert">[^<]*(No|no) pixel', text)
    assert "<canvas" not in text
    assert "PAN" in text


def test_a_fused_image_of_another_pair_is_refused(made, scene):
    write_scene(made, "c", scene[0][:, :128, :128], scene[1][:, :32, :32])
    with pytest.raises(KSDiffError, match=r"128 x 128 pixels, .*got 4 bands of 256 x 256.*--bands"):
        report_files(made / "c_pan.tif", made / "c_ms.tif", made / "a.tif", made / "c.html")
    assert not (made / "c.html").exists()


def test_the_largest_pictures_of_the_least_compressible_scene_stay_under_15_megabytes():
    rng = np.random.default_rng(0)
    pair = SimpleNamespace(ratio=4, phase=(1.5, 1.5), bands=8)
    places = [(0, 6144, 1536), *((1024 * k, 1024 * k + 512, 512) for k in range(4))]
    views = []
    for start, stop, side in places:
        view = View((slice(start, stop),) * 2, (side, side), SimpleNamespace(pair=pair))
        noise = lambda count, side=side: rng.random((count, side, side), dtype=np.float32)  # noqa: E731
        view.images = lambda noise=noise: {"pan": noise(1), "ms": noise(3), "fused": noise(3)}
        views.append(view)
    gathered = Gathered(views, [Histogram(1.0, 0.1) for _ in range(8)], 1.0)
    bands = [(f"band {k}", None) for k in range(8)]
    text = page(Content("noise", (), (), (), None, bands=bands, gathered=gathered))
    assert 2_000_000 < len(text.encode()) < 15_000_000


def test_a_large_scene_has_an_overview_and_parts_at_full_resolution(
    tmp_path, scene, quick, small_part, monkeypatch
):
    monkeypatch.setattr(gather, "_OVERVIEW", 100)
    monkeypatch.setattr(gather, "_DETAIL", 64)
    pan, ms, _ = (image[:, : image.shape[1] // 4 * 3] for image in scene)
    write_scene(tmp_path, "a", pan, ms)
    files = [tmp_path / name for name in ("a_pan.tif", "a_ms.tif", "a.tif")]
    Sharpener(quick).sharpen_files(*files, report=tmp_path / "a.html")
    whole, *parts = data_of(tmp_path / "a.html")["views"]
    assert (whole["height"], whole["width"], whole["pixels"]) == (192, 256, [75, 100])
    assert picture(whole["pan"]).shape == (75, 100, 3)
    assert len(parts) == 4
    for part in parts:
        area = (slice(part[at], part[at] + 64) for at in ("top", "left"))
        shown = picture(part["pan"])[..., 0]
        assert np.corrcoef(shown.ravel(), pan[(0, *area)].ravel())[0, 1] > 0.85
        step = (np.array(part["spectra"]["high"]) - part["spectra"]["low"])[:, None, None] / 254
        rows, columns = (np.array(part["spectra"][key]) // 4 for key in ("rows", "columns"))
        assert (abs(cube(part, "before", 4) - ms[:, rows[:, None], columns]) <= step).all()
    assert "Of the 64 x 64 PAN pixels at row" in (tmp_path / "a.html").read_text()


def test_options_of_the_making_are_read_from_the_file(made, small_part):
    files = [made / name for name in ("a_pan.tif", "a_ms.tif")]
    Sharpener(method="gsa", registration="off").sharpen_files(
        *files, made / "g.tif", report=made / "g1.html"
    )
    report_files(*files, made / "g.tif", made / "g2.html", options=SharpenOptions())
    assert (made / "g1.html").read_text() == (made / "g2.html").read_text()
    text = (made / "g2.html").read_text()
    assert "Registration was switched off" in text
    assert len(re.findall(r"<mark>gsa</mark>|>gsa</th>", text)) == 1


def test_methods_are_judged_as_if_they_had_written_the_image(tmp_path, scene, small_part):
    pan, ms, _ = scene
    write_scene(tmp_path, "a", pan, np.maximum(ms, 300) - 300, nodata=65535)  # dark: clipped at 0
    files = [tmp_path / name for name in ("a_pan.tif", "a_ms.tif", "a.tif")]
    sharpener = Sharpener(method="mtf-glp")
    sharpener.sharpen_files(*files)
    with open_pair(*files[:2]) as pair, open_dataset(files[2], "fused") as dataset:
        assert (dataset.read() == 0).mean() > 0.05
        image = Image(dataset, "fused", "a.tif")
        rows = dict(judge.judged(sharpener.prepare(pair), image, "ksdiff").rows)
    assert rows[judge.FUSED] == pytest.approx(rows["mtf-glp"], abs=1e-6)
    assert rows[judge.FUSED] != pytest.approx(rows["gsa"], abs=1e-3)


def test_what_was_decided_is_told_in_order():
    told = [Decision("A", "1", "because"), Decision("<B>", "2", "therefore")]
    text = page(Content("t", (), told, ("guessed & told",), {"x": "</pre>"}))
    assert "guessed &amp; told" in text
    assert text.index("because") < text.index("&lt;B&gt;")
    assert "</pre>&quot;" not in text
