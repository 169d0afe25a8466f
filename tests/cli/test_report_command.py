import pytest

from ksdiff.inference.report import judge
from tests.support.cli import failed


@pytest.fixture(autouse=True)
def small_part(monkeypatch):
    monkeypatch.setattr(judge, "_SIDES", (64,))


def test_a_report_comes_with_sharpening_or_later_and_is_the_same(ksdiff, folder, weights):
    files = [folder / name for name in ("a_pan.tif", "a_ms.tif", "fused.tif")]
    at_once = ("sharpen", *files, "--weights", weights, "--report", folder / "now.html")
    status, out, errors = ksdiff(*at_once)
    assert status == 0, errors
    assert "now.html: report" in out
    status, out, errors = ksdiff("report", *files, "--out", folder / "later.html")
    assert status == 0, errors
    assert "later.html: report, " in out
    assert (folder / "now.html").read_text() == (folder / "later.html").read_text()
    again = ksdiff("report", *files, "--out", folder / "later.html")
    assert failed(again, "later.html: exists already")


def test_reports_that_cannot_be_made_are_refused_before_any_work(ksdiff, folder, weights):
    files = [folder / name for name in ("a_pan.tif", "a_ms.tif", "fused.tif")]
    wrong = ksdiff("sharpen", *files, "--weights", weights, "--report", folder / "now.pdf")
    assert failed(wrong, "now.pdf", "ends in .html")
    assert not files[2].exists()
    assert failed(ksdiff("report", *files, "--out", folder / "a.html"), "there is no such file")
    assert failed(ksdiff("report", files[0], "--out", folder / "a.html"), "PAN MS FUSED, got")
