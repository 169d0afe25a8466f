"""The study of contrast measures what a truth holds of PAN's detail."""

import torch

from benchmarks.studies import contrast
from ksdiff.images.wald import mtf_filter
from ksdiff.training.pairs import TruthPair


def test_a_truth_that_is_pan_holds_all_of_its_detail():
    torch.manual_seed(0)
    scene = mtf_filter(500 + 100 * torch.randn(1, 1, 128, 128), (0.3,), 2)
    gains = (0.3, 0.3)
    pair = TruthPair("a", scene, torch.cat((scene, 2 * scene), 1), None, None, gains, 4)
    found = contrast.shares(pair)
    assert set(found) == set(contrast.MEASURES)
    # Standard deviations are PAN's over blocks and the bands' through the MTF: not the same.
    torch.testing.assert_close(torch.tensor(found["slope"]), torch.zeros(2), atol=0.01, rtol=0)
    assert contrast.spread([{"shares": found}, {"shares": found}])["slope"][0] == 0
