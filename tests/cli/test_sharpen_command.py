import contextlib
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
import warnings
import zipfile

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS
from rasterio.transform import Affine

from ksdiff.io.geotiff import write_raster, write_scene
from ksdiff.synthetic.scene import procedural_scene
from tests.support import PAN_GRID, ROOT, UTM
from tests.support.cli import failed

MS_GRID = PAN_GRID @ Affine.scale(4)


def options(folder, weights, out="fused.tif"):
    return (
        *("sharpen", "--pan", folder / "a_pan.tif", "--ms", folder / "a_ms.tif"),
        *("--out", folder / out, "--weights", weights),
    )


def test_a_pair_becomes_a_geotiff_and_a_picture(start, folder, weights):
    process = start(*options(folder, weights), "--preview", folder / "fused.png", "--sensor", "gf2")
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "fused.tif: 4 bands of 256 x 256, uint16" in out
    assert (folder / "fused.png").read_bytes().startswith(b"\x89PNG")
    with rasterio.open(folder / "fused.tif") as fused, rasterio.open(folder / "a_pan.tif") as pan:
        assert (fused.crs, fused.transform, fused.shape) == (pan.crs, pan.transform, pan.shape)
        assert fused.descriptions == ("blue", "green", "red", "nir")


def test_bands_in_several_files_and_names_of_gdal(ksdiff, folder, weights):
    with rasterio.open(folder / "a_ms.tif") as ms:
        for band in ms.indexes:
            name = folder / f"b{band}.tif"
            write_raster(name, ms.read([band]), transform=ms.transform, crs=ms.crs)
    with zipfile.ZipFile(folder / "pan.zip", "w") as archive:
        archive.write(folder / "a_pan.tif", "pan.tif")
    assert ksdiff(*options(folder, weights))[0] == 0
    parts = [word for band in range(1, 5) for word in ("--ms", folder / f"b{band}.tif")]
    for number, pan in enumerate(
        (f"/vsizip/{folder}/pan.zip/pan.tif", f"zip://{folder}/pan.zip!pan.tif")
    ):
        out = folder / f"{number}.tif"
        status, _, errors = ksdiff(
            "sharpen", "--pan", pan, *parts, "--out", out, "--weights", weights
        )
        assert status == 0, errors
        with rasterio.open(out) as fused, rasterio.open(folder / "fused.tif") as expected:
            np.testing.assert_array_equal(fused.read(), expected.read())


def test_two_processes_write_the_same_bytes(start, folder, weights):
    processes = [
        start(*options(folder, weights, f"{name}.tif"), "--seed", 3, "--device", "cpu")
        for name in ("one", "two")
    ]
    assert [process.wait(120) for process in processes] == [0, 0]
    assert (folder / "one.tif").read_bytes() == (folder / "two.tif").read_bytes()


@pytest.fixture(scope="module")
def large():
    return procedural_scene(0, 1024, 4)


@pytest.fixture
def slow(tmp_path, large):
    """A folder with a scene that takes some seconds."""
    write_scene(tmp_path, "a", *large)
    return tmp_path


def wait_for_writing(folder, process) -> None:
    while process.poll() is None:
        # GDAL deletes the empty file that holds the name before it makes its own.
        with contextlib.suppress(FileNotFoundError):
            if any(part.stat().st_size > 0 for part in folder.glob(".*.part*")):
                return
        time.sleep(0.01)
    pytest.fail(f"ended before it wrote: {process.communicate()[1]}")


def test_a_kill_in_the_middle_leaves_nothing_under_the_name(start, slow, weights):
    process = start(*options(slow, weights), "--tile", "256")
    wait_for_writing(slow, process)
    process.kill()
    assert process.wait(30) == -signal.SIGKILL
    assert not (slow / "fused.tif").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interruption_in_the_middle_leaves_nothing_at_all(start, slow, weights, number):
    (slow / "fused.tif").write_text("precious")
    before = sorted(os.listdir(slow))
    process = start(
        *options(slow, weights),
        "--tile",
        "256",
        "--overwrite",
        # A job in a shell's background inherits an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_for_writing(slow, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "Traceback" not in errors
    assert sorted(os.listdir(slow)) == before
    assert (slow / "fused.tif").read_text() == "precious"


def test_a_full_disk_is_reported_and_leaves_nothing(start, folder, weights):
    before = sorted(os.listdir(folder))
    process = start(
        *options(folder, weights),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    _, errors = process.communicate(timeout=120)
    assert failed((process.returncode, "", errors), "error:", "is the disk full?")
    assert sorted(os.listdir(folder)) == before


def test_an_existing_output_needs_overwrite(ksdiff, folder, weights):
    (folder / "fused.tif").write_text("precious")
    assert failed(ksdiff(*options(folder, weights)), "fused.tif: exists already", "--overwrite")
    assert (folder / "fused.tif").read_text() == "precious"
    assert ksdiff(*options(folder, weights), "--overwrite", "--quiet") == (0, "", "")


def test_paths_that_cannot_be_written_are_refused(ksdiff, folder, weights):
    assert failed(ksdiff(*options(folder, weights, "no/fused.tif")), "there is no folder")
    result = ksdiff(*options(folder, weights), "--preview", "/proc/fused.png")
    assert failed(result, "preview /proc/fused.png: cannot be written")
    assert not (folder / "fused.tif").exists()


def test_debug_shows_where_an_error_comes_from(start, folder, weights):
    (folder / "a_ms.tif").unlink()
    process = start("--debug", *options(folder, weights))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" in errors and "KSDiffError" in errors


def ramp(bands, side, dtype="uint16"):
    return (np.arange(bands * side * side).reshape(bands, side, side) % 200 + 1).astype(dtype)


def both(folder, pan=None, ms=None, grid=MS_GRID, crs=UTM):
    pan = ramp(1, 128) if pan is None else pan
    ms = ramp(4, 32) if ms is None else ms
    write_raster(folder / "a_pan.tif", pan, transform=PAN_GRID, crs=UTM)
    write_raster(folder / "a_ms.tif", ms, transform=grid, crs=crs)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"grid": PAN_GRID @ Affine.scale(9)}, ["ratio of 9 by 9", "expected a whole number"]),
        ({"grid": MS_GRID @ Affine.translation(100, 0)}, ["do not overlap"]),
        ({"crs": CRS.from_epsg(4326)}, ["EPSG:32631", "EPSG:4326"]),
        ({"pan": ramp(4, 128), "ms": ramp(1, 32)}, ["look exchanged"]),
        ({"ms": ramp(7, 32)}, ["for 4 bands at ratio 4", "7 bands"]),
        ({"ms": ramp(4, 64), "grid": PAN_GRID @ Affine.scale(2)}, ["4 bands at ratio 2"]),
    ],
)
def test_pairs_that_do_not_fit_are_refused(ksdiff, tmp_path, weights, change, words):
    both(tmp_path, **change)
    assert failed(ksdiff(*options(tmp_path, weights)), "error:", *words)
    assert not (tmp_path / "fused.tif").exists()


def test_a_missing_or_unreadable_input_is_refused(ksdiff, folder, weights):
    (folder / "a_pan.tif").write_bytes(b"II*\0 and no more")
    assert failed(ksdiff(*options(folder, weights)), "pan", "a_pan.tif: not a readable raster")
    (folder / "a_pan.tif").unlink()
    assert failed(ksdiff(*options(folder, weights)), "pan", "a_pan.tif: there is no such file")


def test_a_damaged_input_is_refused_and_leaves_nothing(ksdiff, folder, weights):
    whole = (folder / "a_pan.tif").read_bytes()
    broken = bytearray(whole)
    broken[len(whole) // 3 : len(whole) // 2] = bytes(len(whole) // 2 - len(whole) // 3)
    (folder / "a_pan.tif").write_bytes(broken)
    assert failed(ksdiff(*options(folder, weights)), "a_pan.tif: cannot be read")
    assert sorted(os.listdir(folder)) == ["a_gt.tif", "a_ms.tif", "a_pan.tif"]


def test_corrupt_and_foreign_checkpoints_are_refused(ksdiff, folder, weights):
    import torch
    from safetensors.torch import save_file

    corrupt, foreign, pickled = (folder / f"{name}.safetensors" for name in "abc")
    corrupt.write_bytes(weights.read_bytes()[:1000])
    save_file({"x": torch.zeros(3)}, foreign)
    torch.save({"x": torch.zeros(3)}, pickled)
    for path in (corrupt, foreign, pickled):
        assert failed(ksdiff(*options(folder, path)), f"weights {path}")
    assert failed(ksdiff(*options(folder, "ksdiff-xl")), "ksdiff-xl: neither a file nor bundled")


def test_any_number_of_bands_has_bundled_weights(ksdiff, tmp_path):
    both(tmp_path, ms=ramp(7, 32))
    status, out, _ = ksdiff(*options(tmp_path, "")[:-2])
    assert status == 0 and "ksdiff-s" in out


def test_weights_of_other_bands_are_refused(ksdiff, tmp_path):
    both(tmp_path, ms=ramp(7, 32))
    result = ksdiff(*options(tmp_path, "ksdiff-s-4band"))
    assert failed(result, "for 4 bands at ratio 4", "the scene has 7 bands at ratio 4")


def test_an_unknown_sensor_or_device_is_refused(ksdiff, folder, weights):
    assert failed(ksdiff(*options(folder, weights), "--sensor", "wv9"), "'wv9' is not known")
    assert failed(
        ksdiff(*options(folder, weights), "--sensor", "sentinel2"), "sentinel2 has 6 bands"
    )
    status, _, errors = ksdiff(*options(folder, weights), "--device", "tpu")
    assert status == 2 and "tpu" in errors


@pytest.mark.parametrize(("dtype", "value"), [("uint8", 7), ("uint16", 0), ("float32", 0.25)])
def test_constant_images_are_fused(ksdiff, tmp_path, weights, dtype, value):
    both(tmp_path, np.full((1, 128, 128), value, dtype), np.full((4, 32, 32), value, dtype))
    status, _, errors = ksdiff(*options(tmp_path, weights))
    assert status == 0, errors
    with rasterio.open(tmp_path / "fused.tif") as fused:
        assert fused.dtypes[0] == dtype
        np.testing.assert_allclose(fused.read(), value, rtol=0.01)


def test_an_image_of_nothing_but_nan_is_refused(ksdiff, tmp_path, weights):
    both(tmp_path, ms=np.full((4, 32, 32), np.nan, "float32"))
    assert failed(ksdiff(*options(tmp_path, weights)), "no pixel with data in common")


def test_nodata_and_nan_stay_what_they_are(ksdiff, folder, weights, scene):
    pan, ms = scene[0].astype("float32"), scene[1].copy()
    pan[0, 200:210, 100:130] = np.nan
    ms[:, :8] = 4000
    write_raster(folder / "a_pan.tif", pan, transform=PAN_GRID, crs=UTM)
    write_raster(folder / "a_ms.tif", ms, transform=MS_GRID, crs=UTM, nodata=4000)
    # Unregistered: the hole would move with PAN.
    extra = ("--registration", "off", "--preview", folder / "fused.png")
    status, _, errors = ksdiff(*options(folder, weights), *extra)
    assert status == 0, errors
    expected = np.zeros((256, 256), dtype=bool)
    expected[:32], expected[200:210, 100:130] = True, True
    with rasterio.open(folder / "fused.tif") as fused:
        assert fused.nodata == 4000
        assert all(np.array_equal(band == 4000, expected) for band in fused.read())


def test_contrast_reaches_both_commands(ksdiff, folder, weights):
    fused = {}
    for contrast in ("slope", "deviations"):
        choice = ("--registration", "off", "--contrast", contrast)
        status, _, errors = ksdiff(*options(folder, weights, f"{contrast}.tif"), *choice)
        assert status == 0, errors
        with rasterio.open(folder / f"{contrast}.tif") as made:
            fused[contrast] = made.read()
        scores = folder / f"{contrast}.json"
        call = ("evaluate", "--data", folder, "--methods", "ksdiff", "--weights", weights)
        status, _, errors = ksdiff(*call, *choice, "--json", scores)
        assert status == 0, errors
        header = json.loads(scores.read_text())["header"]
        assert (header["registration"], header["contrast"]) == ("off", contrast)
    assert (fused["slope"] != fused["deviations"]).any()
    assert ksdiff(*options(folder, weights, "c.tif"), "--contrast", "ratio")[0] == 2


def test_names_may_follow_each_other(ksdiff, folder, weights):
    names = (folder / "a_pan.tif", folder / "a_ms.tif", folder / "fused.tif")
    assert ksdiff("sharpen", *names, "--weights", weights, "--quiet") == (0, "", "")
    with rasterio.open(folder / "fused.tif") as fused:
        assert fused.shape == (256, 256)
    assert failed(
        ksdiff("sharpen", *names[:2]), "a_pan.tif: is not a known product", "PAN, MS and OUT"
    )
    assert failed(ksdiff("sharpen", *names, "--out", "x.tif"), "expected PRODUCT OUT, PAN", "--out")
    assert failed(ksdiff("sharpen"), "expected PRODUCT OUT, PAN MS OUT", "got nothing")


def test_a_geotiff_is_a_cog_that_tells_how_it_was_made(ksdiff, folder, weights):
    cogeo = pytest.importorskip("rio_cogeo.cogeo")
    with rasterio.open(folder / "a_ms.tif", "r+") as ms:
        ms.update_tags(ACQUISITIONDATE="2024-05-01")
        ms.scales, ms.offsets = (0.5,) * 4, (-1.0,) * 4
    assert ksdiff(*options(folder, weights), "--seed", 7, "--quiet")[0] == 0
    assert cogeo.cog_validate(folder / "fused.tif", strict=True)[0]
    with rasterio.open(folder / "fused.tif") as fused:
        tags = fused.tags()
        assert tags["TIFFTAG_SOFTWARE"].startswith("ksdiff ")
        assert tags["ACQUISITIONDATE"] == "2024-05-01"
        made = json.loads(tags["KSDIFF_PROVENANCE"])
        assert made["inputs"] == {name: [str(folder / f"a_{name}.tif")] for name in ("pan", "ms")}
        assert made["weights"] == {
            "name": str(weights),
            "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        }
        assert made["options"]["seed"] == 7
        assert (fused.scales, fused.offsets) == ((0.5,) * 4, (-1.0,) * 4)
        assert [colour.name for colour in fused.colorinterp[:3]] == ["blue", "green", "red"]
        assert "STATISTICS_MEAN" in fused.tags(1)


def test_options_of_the_output_reach_the_file(ksdiff, folder, weights):
    choice = ("--no-cog", "--compress", "zstd", "--co", "BLOCKXSIZE=256", "--co", "BLOCKYSIZE=128")
    status, _, errors = ksdiff(*options(folder, weights), *choice, "--dtype", "uint8")
    assert status == 0, errors
    with rasterio.open(folder / "fused.tif") as fused:
        assert (fused.dtypes[0], fused.compression.name) == ("uint8", "zstd")
        assert fused.block_shapes[0] == (128, 256)
        assert fused.read().max() == 255  # the scene has values of eleven bits
    refused = (
        (("--co", "FOO=1"), ["creation option FOO"]),
        (("--dtype", "complex64"), ["dtype: expected one of uint8, "]),
        (("--preview", folder / "p.jpg"), ["preview", "ends in .png"]),
        (("--rgb", folder / "p.jp2"), ["rgb", "ends in .tif or .png"]),
    )
    for extra, words in refused:
        assert failed(ksdiff(*options(folder, weights), *extra, "--overwrite"), *words)


def test_values_stay_within_the_bits_of_the_ms(ksdiff, folder, weights):
    with rasterio.open(folder / "a_ms.tif") as ms:
        values, profile = np.minimum(ms.read(), 511), ms.profile
    profile.pop("predictor", None)
    profile.update(nbits=9)
    values[:, ::2, ::2] = 511
    with rasterio.open(folder / "a_ms.tif", "w", **profile) as ms:
        ms.write(values)
    assert ksdiff(*options(folder, weights), "--quiet")[0] == 0
    with rasterio.open(folder / "fused.tif") as fused:
        assert fused.read().max() == 511


@pytest.mark.parametrize("name", ["colours.tif", "colours.png"])
def test_a_picture_in_true_colours(ksdiff, folder, weights, name):
    assert ksdiff(*options(folder, weights), "--rgb", folder / name, "--quiet")[0] == 0
    with rasterio.open(folder / name) as picture, rasterio.open(folder / "fused.tif") as fused:
        assert [colour.name for colour in picture.colorinterp] == ["red", "green", "blue"]
        assert picture.dtypes == ("uint8",) * 3
        assert (picture.shape, picture.transform) == (fused.shape, fused.transform)
        shown, values = picture.read(), fused.read((3, 2, 1))
        assert shown.min() == 1 and shown.max() == 255
        for one, other in zip(shown, values, strict=True):
            order = np.argsort(other, axis=None)
            assert (np.diff(one.ravel()[order].astype(int)) >= 0).all()


def test_an_unwritable_home_is_no_reason_to_complain(start, folder, weights):
    places = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"), "/proc/nowhere")
    for name in ("a_pan.tif", "a_ms.tif"):  # and no georeference
        with rasterio.open(folder / name) as file:
            values = file.read()
        (folder / name).unlink()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with rasterio.open(
                folder / name,
                "w",
                driver="GTiff",
                count=len(values),
                dtype=values.dtype,
                height=values.shape[1],
                width=values.shape[2],
            ) as file:
                file.write(values)
    extra = ("--preview", folder / "p.png", "--rgb", folder / "c.png", "--quiet")
    process = start(*options(folder, weights), *extra, changes=places)
    out, errors = process.communicate(timeout=120)
    assert (process.returncode, out, errors) == (0, "", "")


def test_a_classical_method_needs_no_weights(ksdiff, folder, weights):
    call = ("sharpen", folder / "a_pan.tif", folder / "a_ms.tif", folder / "fused.tif")
    status, out, errors = ksdiff(*call, "--method", "gsa")
    assert status == 0, errors
    assert "with gsa in" in out
    with rasterio.open(folder / "fused.tif") as fused:
        made = json.loads(fused.tags()["KSDIFF_PROVENANCE"])
    assert (made["options"]["method"], made["weights"]) == ("gsa", None)
    again = (*call, "--method", "gsa", "--overwrite")
    assert failed(ksdiff(*again, "--weights", weights), "gsa takes none")
    assert failed(ksdiff(*again, "--adapt"), "gsa has none")


def test_bad_outputs_are_refused_before_pytorch_is_loaded(tmp_path):
    (tmp_path / "fused.tif").touch()
    code = (
        "import sys; from ksdiff.cli import main\n"
        "try: main()\n"
        "except SystemExit: print([name for name in ('torch', 'rasterio') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, "sharpen", "p.tif", "m.tif", tmp_path / "fused.tif"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert "exists already" in " ".join(done.stderr.split())
    assert done.stdout == "[]\n"
