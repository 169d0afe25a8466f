import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ksdiff.images.reduced import Reduced


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_parts_in_any_order_give_the_means_of_cells(data):
    height, width = data.draw(st.tuples(*(st.integers(4, 24),) * 2))
    seed = data.draw(st.integers(0, 1000))
    image = np.random.default_rng(seed).random((2, height, width))
    image[:, data.draw(st.integers(0, height - 1))] = np.nan
    area = tuple(
        slice(first, data.draw(st.integers(first + 1, length)))
        for length in (height, width)
        for first in [data.draw(st.integers(0, length - 1))]
    )
    size = tuple(data.draw(st.integers(1, s.stop - s.start)) for s in area)
    reduced = Reduced(area, size, 2)
    cuts = [sorted({0, data.draw(st.integers(1, side)), side}) for side in (height, width)]
    parts = [
        (top, left, image[:, top:bottom, left:right])
        for top, bottom in zip(cuts[0], cuts[0][1:], strict=False)
        for left, right in zip(cuts[1], cuts[1][1:], strict=False)
    ]
    for top, left, part in data.draw(st.permutations(parts)):
        reduced.add(part, top, left)
    inner = image[:, area[0], area[1]]
    cells = [np.arange(inner.shape[1 + k]) * size[k] // inner.shape[1 + k] for k in (0, 1)]
    for row in range(size[0]):
        for column in range(size[1]):
            cell = inner[:, cells[0] == row][:, :, cells[1] == column]
            known = cell[:, np.isfinite(cell).all(0)]
            expected = known.mean(1) if known.size else np.full(2, np.nan)
            np.testing.assert_allclose(reduced.mean()[:, row, column], expected, rtol=1e-5)
