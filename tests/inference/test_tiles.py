from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ksdiff.inference.tiles import Blender, plan_spans

lengths = st.integers(16, 700).map(lambda n: 4 * n)
sides = st.integers(4, 80).map(lambda n: 4 * n)
layouts = st.sampled_from([(512, 32, 32), (256, 32, 32), (64, 16, 8), (32, 32, 0)])


@settings(max_examples=200, deadline=None)
@given(length=lengths, layout=layouts)
def test_spans_cover_the_axis_with_weights_that_add_up_to_one(length, layout):
    stride, overlap, margin = layout
    total = torch.zeros(length)
    for span in plan_spans(length, stride, overlap, margin, 8):
        weights = torch.ones(span.stop - span.start)
        for at, ramp in span.ramps():
            weights[at] = ramp
        total[span.start : span.stop] += weights
    torch.testing.assert_close(total, torch.ones(length))


@settings(max_examples=200, deadline=None)
@given(length=lengths, layout=layouts)
def test_what_the_model_sees_is_a_multiple_of_eight_with_the_margin_where_there_is_one(
    length, layout
):
    stride, overlap, margin = layout
    spans = plan_spans(length, stride, overlap, margin, 8)
    for span in spans:
        assert (span.padded_stop - span.read_start) % 8 == 0
        assert 0 <= span.read_start <= max(span.start - margin, 0)
        assert span.read_stop == min(span.stop + margin, length)
        assert 0 <= span.padded_stop - span.read_stop < 8
        assert span.padded_stop == span.read_stop or span.read_start == 0
        assert span.read_start % 4 == 0
    for span, following in pairwise(spans):
        assert span.finished == following.start
        assert span.stop - following.start == overlap == span.ramp_down == following.ramp_up
    assert spans[-1].finished == spans[-1].stop == length


@settings(max_examples=40, deadline=None)
@given(height=sides, width=sides, layout=st.sampled_from([(64, 16, 8), (32, 32, 0), (96, 8, 16)]))
def test_blending_windows_of_one_image_gives_the_image(height, width, layout):
    stride, overlap, margin = layout
    image = torch.rand(2, height, width)
    rows, columns = (plan_spans(n, stride, overlap, margin, 8) for n in (height, width))
    blender, out = Blender(rows, columns), torch.full_like(image, torch.nan)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            window = image[:, row.start : row.stop, column.start : column.stop]
            part = blender.add(window.clone(), i, j)
            area = out[
                :,
                row.start : row.start + part.shape[1],
                column.start : column.start + part.shape[2],
            ]
            assert area.isnan().all()
            area.copy_(part)
    torch.testing.assert_close(out, image)


def test_blending_goes_smoothly_from_one_window_to_the_next():
    rows, columns = plan_spans(64, 64, 32, 0, 8), plan_spans(160, 64, 32, 0, 8)
    blender = Blender(rows, columns)
    parts = [
        blender.add(torch.full((1, 64, column.stop - column.start), float(j)), 0, j)
        for j, column in enumerate(columns)
    ]
    line = torch.cat(parts, 2)[0, 0]
    assert line[0] == 0 and line[-1] == 1
    assert (line.diff() >= 0).all() and line.diff().max() < 0.06


@pytest.mark.parametrize(
    ("layout", "match"),
    [
        ((60, 16, 8), "stride"),
        ((64, 12, 8), "overlap"),
        ((64, 16, 4), "margin"),
        ((64, 0, 8), "1 to"),
    ],
)
def test_layouts_off_the_grid_are_refused(layout, match):
    with pytest.raises(ValueError, match=match):
        plan_spans(512, *layout, 8)
