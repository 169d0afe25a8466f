import os

import pytest

from ksdiff.errors import KSDiffError
from ksdiff.inference.batch import sharpen_batch
from ksdiff.io.jobs import Job

JOBS = [Job(name, f"{name}_pan.tif", f"{name}_ms.tif") for name in ("a", "b", "c", "d")]


def make(job, target):
    if job.name == "b":
        raise KSDiffError("b_ms.tif: there is no such file")
    if job.name == "c":
        raise ZeroDivisionError("by zero")
    target.write_text(job.pan)


def test_failures_do_not_end_the_others_and_what_is_done_is_skipped(tmp_path):
    out, seen, ended = tmp_path / "new" / "out", [], []
    result = sharpen_batch(JOBS, out, make, begin=seen.append, end=ended.append)
    assert (result.done, result.skipped, seen) == (["a", "d"], [], ["a", "b", "c", "d"])
    assert ended == seen
    assert result.failed == {
        "b": "b_ms.tif: there is no such file",
        "c": "unexpected ZeroDivisionError: by zero",
    }
    assert sorted(os.listdir(out)) == ["a.tif", "d.tif"]
    again = sharpen_batch(JOBS, out, make)
    assert (again.done, again.skipped, list(again.failed)) == ([], ["a", "d"], ["b", "c"])
    assert sharpen_batch(JOBS, out, make, overwrite=True).done == ["a", "d"]


def test_an_interruption_ends_all(tmp_path):
    def interrupted(job, target):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sharpen_batch(JOBS, tmp_path, interrupted)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(KSDiffError, match="cannot be created"):
        sharpen_batch(JOBS, tmp_path / "file" / "out", make)
