"""Progress for programs that start the command."""

import json

import pytest


@pytest.mark.parametrize(
    ("command", "stages"),
    [
        ("sharpen {0}/a_pan.tif {0}/a_ms.tif {0}/out.tif", ["Starting", "Surveying", "Sharpening"]),
        ("batch {0} --out {0}/out", ["Sharpening"]),
        ("evaluate --data {0} --methods exp", ["Evaluating"]),
    ],
)
def test_progress_comes_as_lines_of_json_alone(ksdiff, folder, command, stages):
    method = () if command.startswith("evaluate") else ("--method", "exp")
    status, _, errors = ksdiff(*command.format(folder).split(), *method, "--progress", "json")
    assert status == 0, errors
    lines = [json.loads(line) for line in errors.splitlines()]
    assert list(dict.fromkeys(line["stage"] for line in lines)) == stages
    for stage in stages:
        done = [line["done"] for line in lines if line["stage"] == stage]
        assert done == list(range(len(done)))
        assert {line["count"] for line in lines if line["stage"] == stage} == {1}


def test_quiet_leaves_progress_out(ksdiff, folder):
    call = ("batch", folder, "--out", folder / "out", "--method", "exp", "--quiet")
    assert ksdiff(*call, "--progress", "json") == (0, "", "")
