"""Pages of the documentation hold the numbers of the committed results."""

import importlib
import json

import pytest


@pytest.mark.parametrize("name", ["adaptation", "ablations"])
def test_a_page_holds_the_committed_results(name):
    module = importlib.import_module(f"benchmarks.{name}.__main__")
    page = module.PAGE.read_text()
    assert module.filled(page, json.loads(module.RESULTS.read_text())) == page
