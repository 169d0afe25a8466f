import pickle

import h5py
import numpy as np
import pytest
import torch

from ksdiff.errors import KSDiffError
from ksdiff.io.pancollection import PanCollection
from ksdiff.io.repair import kept_pixels, repair, shifts_of
from tests.support.pancollection import patches, shifted, write_h5


@pytest.fixture(scope="module")
def arrays():
    return patches()


def test_workers_can_read_what_was_opened_before_them(arrays, tmp_path):
    source = PanCollection(write_h5(tmp_path / "train.h5", arrays), "wv3")
    copy = pickle.loads(pickle.dumps(source))
    assert torch.equal(copy.images(2)["gt"], source.images(2)["gt"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ms": None}, "'ms' is missing"),
        ({"gt": None}, "'gt' is missing"),
        ({"gt": np.ones((3, 64, 64, 8))}, r"gt: expected 8 bands \(wv3\), .*\[N, H, W, C\]"),
        ({"gt": np.ones((64, 64, 8, 3))}, r"gt: expected 8 bands \(wv3\), .*\[H, W, C, N\]"),
        ({"gt": np.ones((3, 4, 64, 64))}, r"expected 8 bands .*: is it of qb or gf2\?|gf2 or qb"),
        ({"gt": np.ones((0, 8, 64, 64))}, "holds no patches"),
        ({"ms": np.ones((3, 8, 32, 32))}, r"ms: expected \[3, 8, 16, 16\]"),
        ({"pan": np.ones((3, 64, 64))}, r"pan: expected \[N, C, H, W\]"),
        ({"pan": np.ones((2, 1, 64, 64))}, r"pan: expected \[3, 1, 64, 64\]"),
        ({"pan": np.full((3, 1, 64, 64), np.nan)}, r"pan\[0\] holds NaN"),
        (
            {"pan": np.full((3, 1, 64, 64), 0.9)},
            r"pan: values reach 0\.9; .*digital numbers",
        ),
        ({"gt": np.full((3, 8, 64, 64), 9e3)}, r"gt: values from 9000 to 9000; .* 0 to 2047"),
        ({"ms": np.linspace(-900, 99, 6144).reshape(3, 8, 16, 16)}, "ms: values from -900"),
        ({"ms": np.full((3, 8, 16, 16), 20.0)}, "not of one scale"),
    ],
)
def test_a_wrong_file_is_named(arrays, tmp_path, changes, message):
    with pytest.raises(KSDiffError, match=r"train\.h5: .*" + f"(?:{message})"):
        PanCollection(write_h5(tmp_path / "train.h5", arrays, **changes), "wv3")


def test_nan_that_opening_did_not_see_is_found_in_reading(arrays, tmp_path):
    path = write_h5(tmp_path / "train.h5", arrays)
    source = PanCollection(path, "wv3")
    source._file.close()
    with h5py.File(path, "r+") as file:
        file["pan"][2, 0, 5, 5] = np.nan
    with pytest.raises(KSDiffError, match=r"pan\[2\] holds NaN"):
        pickle.loads(pickle.dumps(source)).images(2)


def test_a_file_that_is_no_hdf5_is_refused(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"no")
    with pytest.raises(KSDiffError, match="not readable as HDF5"):
        PanCollection(tmp_path / "a.h5", "wv3")
    with pytest.raises(KSDiffError, match="not readable as HDF5"):
        repair(tmp_path / "a.h5", tmp_path / "b.h5")
    with pytest.raises(KSDiffError, match="no such file"):
        PanCollection(tmp_path / "b.h5", "wv3")
    with pytest.raises(KSDiffError, match=r"does not say its sensor; .*--sensor"):
        PanCollection(tmp_path / "a.h5", "")


def test_a_file_without_truth_is_for_evaluation(arrays, tmp_path):
    path = write_h5(tmp_path / "full.h5", arrays, gt=None)
    source = PanCollection(path, "wv3", truth=False)
    assert not source.truth and set(source.images(0)) == {"pan", "ms"}
    assert "3 patches of 64 x 64 without truth" in source.describe()


def test_published_counts_are_recognised(arrays, tmp_path):
    twenty = {key: np.repeat(values[:1], 20, 0) for key, values in arrays.items()}
    path = write_h5(tmp_path / "test.h5", twenty)
    assert "as many as the published test set" in PanCollection(path, "wv3").describe()
    path = write_h5(tmp_path / "three.h5", arrays)
    assert "none of the published counts (training 9714" in PanCollection(path, "wv3").describe()
    assert "no published counts" in PanCollection(path, "wv2").describe()


def test_the_interpolator_keeps_the_ms_pixels(arrays):
    np.testing.assert_allclose(kept_pixels(arrays["lms"], 4), arrays["ms"], atol=1e-6)


def test_shifts_are_found_where_they_are(arrays):
    found = shifts_of(shifted(arrays)["ms"], arrays["lms"])
    assert found.tolist() == [[-1, 0], [0, 0], [1, -1]]
    other = np.random.default_rng(0).uniform(1, 2000, arrays["lms"].shape)
    assert not shifts_of(arrays["ms"], other).any()
    assert not shifts_of(np.ones_like(arrays["ms"]), np.ones_like(arrays["lms"])).any()


def test_a_shifted_file_is_refused_and_repaired_exactly(arrays, tmp_path):
    broken = write_h5(tmp_path / "train_qb.h5", shifted(arrays))
    with pytest.raises(KSDiffError, match=r"off its lms in 2 of 3 .*ksdiff data repair"):
        PanCollection(broken, "wv3")
    before = broken.read_bytes()
    assert repair(broken, tmp_path / "mended.h5") == (3, 2)
    assert broken.read_bytes() == before
    PanCollection(tmp_path / "mended.h5", "wv3")
    with h5py.File(tmp_path / "mended.h5") as file:
        for key in arrays:
            np.testing.assert_allclose(file[key][:], arrays[key], atol=1e-6)
    assert repair(tmp_path / "mended.h5", tmp_path / "again.h5").shifted == 0


def test_what_cannot_be_repaired_says_why(arrays, tmp_path):
    path = write_h5(tmp_path / "a.h5", arrays, lms=None)
    with pytest.raises(KSDiffError, match="needs the datasets ms and lms, 'lms' is missing"):
        repair(path, tmp_path / "b.h5")
    path = write_h5(tmp_path / "c.h5", arrays, lms=arrays["lms"][:2])
    with pytest.raises(KSDiffError, match=r"expected ms .* and lms .* of a whole ratio"):
        repair(path, tmp_path / "b.h5")
    assert not (tmp_path / "b.h5").exists()
