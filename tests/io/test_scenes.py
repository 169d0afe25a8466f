import pytest

from ksdiff.errors import KSDiffError
from ksdiff.io.scenes import list_scenes


def test_endings_are_found_in_any_case(tmp_path):
    for name in (
        "b_pan.tif",
        "b_ms.tif",
        "A_PAN.TIF",
        "A_MS.tiff",
        "A_GT.Tif",
        "c_ms.tif",
        "x.tif",
    ):
        (tmp_path / name).touch()
    scenes = list_scenes(tmp_path)
    assert [(s.name, s.pan.name, s.ms.name, s.gt and s.gt.name) for s in scenes] == [
        ("A", "A_PAN.TIF", "A_MS.tiff", "A_GT.Tif"),
        ("b", "b_pan.tif", "b_ms.tif", None),
    ]


def test_the_same_image_twice_is_refused(tmp_path):
    for name in ("a_pan.tif", "a_pan.tiff", "a_ms.tif"):
        (tmp_path / name).touch()
    with pytest.raises(KSDiffError, match=r"a_pan\.tiff: a_pan\.tif is the same image"):
        list_scenes(tmp_path)


def test_a_pan_without_its_ms_is_named(tmp_path):
    (tmp_path / "a_PAN.TIF").touch()
    with pytest.raises(KSDiffError, match=r"a_PAN\.TIF: its multispectral image a_ms\.TIF is"):
        list_scenes(tmp_path)
