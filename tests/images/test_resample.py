import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ksdiff.images.resample import displaced
from ksdiff.images.translation import shift

BY = st.floats(-20, 20)


@settings(max_examples=6, deadline=None)
@given(dy=BY, dx=BY, height=st.integers(1, 70), width=st.integers(1, 70))
def test_one_displacement_for_all_is_a_shift(dy, dx, height, width):
    image = torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(height))
    found = displaced(image, *(torch.full((height, width), by) for by in (dy, dx)))
    torch.testing.assert_close(found, shift(image, -dy, -dx), rtol=0, atol=2e-4)


def test_a_smooth_displacement_reads_between_pixels():
    side = 400
    y, x = (part.float() for part in torch.meshgrid(*[torch.arange(side)] * 2, indexing="ij"))

    def image(y, x):
        return torch.sin(1.9 * y + 0.3 * x) + torch.cos(0.4 * y - 1.7 * x)

    down = 6 * ((y / side) ** 2 - x / side)
    right = -4 + 8 * (x / side) * (y / side)
    found = displaced(image(y, x)[None, None], down, right)[0, 0]
    inner = (slice(20, -20),) * 2
    np.testing.assert_allclose(found[inner], image(y + down, x + right)[inner], atol=0.005)
