import numpy as np
import pytest
import torch

from ksdiff.errors import KSDiffError
from ksdiff.images.pair import ArrayPair


@pytest.mark.parametrize("make", [np.zeros, torch.zeros])
@pytest.mark.parametrize("bands", [3, 4, 8])
@pytest.mark.parametrize("side", [16, 64])
def test_bands_last_are_refused_as_such(make, bands, side):
    pan, ms = make((4 * side, 4 * side)), make((side, side, bands))
    with pytest.raises(KSDiffError, match=r"ms: shape .* is \[H, W, C\], expected bands first"):
        ArrayPair(pan, ms)
    with pytest.raises(KSDiffError, match=r"pan: shape .* is \[H, W, C\], .*pan\.transpose"):
        ArrayPair(pan[..., None], ms)


@pytest.mark.parametrize("bands", [2, 16, 40])
def test_bands_first_are_taken_whatever_their_number(bands):
    assert ArrayPair(np.zeros((64, 64)), np.zeros((bands, 16, 16))).bands == bands
