"""Pages of the documentation hold the numbers of the committed results."""

import importlib
import json

import pytest
import torch

from benchmarks import contrast
from benchmarks.ablations import prior
from ksdiff.images.wald import mtf_filter
from ksdiff.training.pairs import TruthPair


@pytest.mark.parametrize(
    "name", ["adaptation.__main__", "ablations.__main__", "contrast", "strength"]
)
def test_a_page_holds_the_committed_results(name):
    module = importlib.import_module(f"benchmarks.{name}")
    page = module.PAGE.read_text()
    assert module.filled(page, json.loads(module.RESULTS.read_text())) == page


def test_the_page_on_the_prior_holds_the_committed_results():
    page = prior.PAGE.read_text()
    assert prior.filled(page) == page


def test_a_truth_that_is_pan_holds_all_of_its_detail():
    torch.manual_seed(0)
    scene = mtf_filter(500 + 100 * torch.randn(1, 1, 128, 128), (0.3,), 2)
    gains = (0.3, 0.3)
    pair = TruthPair("a", scene, torch.cat((scene, 2 * scene), 1), None, None, gains, 4)
    found = contrast.shares(pair)
    assert set(found) == set(contrast.MEASURES)
    # Standard deviations are PAN's over blocks and the bands' through the MTF: not the same.
    torch.testing.assert_close(torch.tensor(found["slope"]), torch.zeros(2), atol=0.01, rtol=0)
    assert contrast.spread([{"shares": found}, {"shares": found}])["slope"]["between scenes"] == 0
