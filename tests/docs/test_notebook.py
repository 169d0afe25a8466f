"""The notebook in docs/ runs, and its page shows what it is."""

import importlib.util
import re

import pytest

from tests.support import ROOT

pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
DOCS = ROOT / "docs"


def executed():
    spec = importlib.util.spec_from_file_location("notebook", DOCS / "notebook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.executed(DOCS / "ndvi.ipynb")


def test_the_notebook_runs_and_its_page_is_its_own():
    page = (DOCS / "ndvi.md").read_text()
    cells = executed().cells
    for cell in cells:
        assert cell.source.strip() in page
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    said = "".join(output.get("text", "") for output in outputs)
    errors = [float(value) for value in re.findall(r"RMSE ([\d.]+)", said)]
    assert len(errors) == 2
    assert errors[1] < 0.9 * errors[0]
    for line in said.splitlines():
        if "RMSE" not in line:  # the last digit may differ between machines
            assert line.strip() in page
    assert len(re.findall(r"!\[\w[^\]]{10,}\]\(ndvi_files/", page)) == 3
