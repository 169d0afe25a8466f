import host_cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

SCALARS = ("float32", "float64", "float16", "bfloat16")
ROLES = ("forward", "grad_input", "correlate", "reduce")
MAX_THREADS = 1024
MAX_REGISTERS = 255

quick = settings(deadline=None, max_examples=200)


def make_shape(probe, case: host_cases.ConvCase, low_rank: bool):
    shape = probe.ConvShape()
    shape.batch, shape.channels, shape.groups = case.batch, case.channels, case.groups
    (shape.in_h, shape.in_w), (shape.out_h, shape.out_w) = case.size, case.out
    (shape.kernel_h, shape.kernel_w), (shape.stride_h, shape.stride_w) = case.kernel, case.stride
    (shape.pad_h, shape.pad_w), (shape.dilation_h, shape.dilation_w) = case.padding, case.dilation
    shape.low_rank, shape.rank = low_rank, case.rank if low_rank else 0
    return shape


def make_limits(probe, multiprocessors: int):
    limits = probe.DeviceLimits()
    limits.multiprocessors = multiprocessors
    return limits


def pairs(low: int, high: int):
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def conv_cases(draw) -> host_cases.ConvCase:
    groups = draw(st.integers(1, 4))
    square = st.sampled_from((1, 3, 5, 7)).map(lambda k: (k, k))
    unit = st.just((1, 1))
    return host_cases.ConvCase(
        batch=draw(st.integers(0, 2)),
        channels=groups * draw(st.integers(0, 9)),
        groups=groups,
        size=draw(pairs(0, 80)),
        kernel=draw(square | pairs(1, 9)),
        out=draw(pairs(0, 80)),
        stride=draw(unit | pairs(1, 3)),
        padding=draw(pairs(0, 9)),
        dilation=draw(unit | pairs(1, 3)),
        rank=draw(st.integers(0, 9)),
    )


@quick
@given(
    case=conv_cases(),
    role=st.sampled_from(ROLES[:2]),
    scalar=st.sampled_from(SCALARS),
    low_rank=st.booleans(),
    multiprocessors=st.integers(1, 200),
)
def test_every_output_is_written_exactly_once(probe, case, role, scalar, low_rank, multiprocessors):
    shape = make_shape(probe, case, low_rank)
    role_value = getattr(probe.ConvRole, role)
    limits = make_limits(probe, multiprocessors)
    plan = probe.plan_conv(shape, role_value, getattr(probe.ScalarKind, scalar), limits)
    plane = case.size if role == "grad_input" else case.out
    writes = np.zeros((case.batch, case.channels, *plane), np.int32)
    probe.count_writes(shape, plan, role_value, writes.ctypes.data)
    assert (writes == 1).all()
    assert (plan.blocks == 0) == (writes.size == 0)


@quick
@given(
    case=conv_cases(),
    role=st.sampled_from(ROLES),
    scalar=st.sampled_from(SCALARS),
    low_rank=st.booleans(),
    scale=st.sampled_from((1, 1, 1000)),
)
def test_blocks_stay_within_the_device(probe, case, role, scalar, low_rank, scale):
    shape = make_shape(probe, case, low_rank)
    for name in ("batch", "in_h", "in_w", "out_h", "out_w"):
        setattr(shape, name, getattr(shape, name) * scale)
    plan = probe.plan_conv(
        shape,
        getattr(probe.ConvRole, role),
        getattr(probe.ScalarKind, scalar),
        probe.DeviceLimits(),
    )
    threads = plan.threads_x * plan.threads_y
    assert threads % 32 == 0 and threads <= MAX_THREADS
    assert plan.shared_bytes <= probe.default_shared_bytes
    assert 0 < plan.register_budget <= MAX_REGISTERS
    assert threads * plan.register_budget <= probe.registers_per_multiprocessor
    # Counted again in integers that do not overflow.
    height, width = (shape.in_h, shape.in_w) if role == "grad_input" else (shape.out_h, shape.out_w)
    assert plan.tiles_x == -(-width // (plan.threads_x * plan.pixels))
    assert plan.tiles_y == -(-height // plan.threads_y)
    tiles, images = plan.tiles_x * plan.tiles_y, shape.batch * shape.groups
    expected = {
        "forward": tiles * images * plan.splits,
        "grad_input": tiles * images * plan.splits,
        "correlate": tiles * images,
        "reduce": images * min(tiles, 128),
    }[role]
    nothing = role in ROLES[:2] and case.channels == 0
    assert plan.blocks == (0 if nothing else expected)


@quick
@given(
    case=conv_cases(),
    role=st.sampled_from(ROLES),
    scalar=st.sampled_from(SCALARS),
    low_rank=st.booleans(),
)
def test_fast_variants_get_only_what_they_can_do(probe, case, role, scalar, low_rank):
    plan = probe.plan_conv(
        make_shape(probe, case, low_rank),
        getattr(probe.ConvRole, role),
        getattr(probe.ScalarKind, scalar),
        probe.DeviceLimits(),
    )
    fits = (
        case.kernel in ((3, 3), (5, 5), (7, 7))
        and case.stride == case.dilation == (1, 1)
        and scalar != "float64"
    )
    alone = case.channels == case.groups and not low_rank
    expected = ("streaming" if alone else "staged") if fits else "general"
    assert plan.variant.name == expected
    assert plan.kernel == (case.kernel[0] if fits else 0)


@quick
@given(case=conv_cases(), processors=st.tuples(st.integers(1, 200), st.integers(1, 200)))
def test_sums_do_not_depend_on_the_device(probe, case, processors):
    splits = {
        probe.plan_conv(
            make_shape(probe, case, True),
            probe.ConvRole.reduce,
            probe.ScalarKind.float32,
            make_limits(probe, count),
        ).splits
        for count in processors
    }
    assert len(splits) == 1


@pytest.mark.parametrize(
    ("role", "low_rank"),
    [(role, low_rank) for role in ROLES for low_rank in (False, True) if role != "reduce"]
    + [("reduce", True)],
)
def test_the_host_cases_reach_every_variant(probe, role, low_rank):
    reached, split, tiles_per_part = set(), set(), set()
    for case in host_cases.CONVOLUTIONS:
        plan = probe.plan_conv(
            make_shape(probe, case, low_rank),
            getattr(probe.ConvRole, role),
            probe.ScalarKind.bfloat16,
            make_limits(probe, 4),
        )
        reached.add((plan.variant.name, plan.kernel))
        split.add(plan.splits > 1)
        tiles_per_part.add((plan.variant.name, plan.tiles_x * plan.tiles_y > plan.splits))
    fast = {("staged", k) for k in (3, 5, 7)}
    alone = set() if low_rank else {("streaming", k) for k in (3, 5, 7)}
    assert reached == {("general", 0)} | fast | alone
    if role != "correlate":
        assert split == {False, True}
    if role == "reduce":
        assert {("staged", True), ("general", True)} <= tiles_per_part


@quick
@given(
    sizes=st.tuples(st.integers(0, 33), *[st.integers(0, 300)] * 2, *[st.integers(1, 9)] * 2),
    ranks=st.tuples(*[st.integers(0, 300)] * 2, *[st.integers(0, 9)] * 2),
    scalar=st.sampled_from(SCALARS),
    shared_bytes=st.sampled_from((99 * 1024, 163 * 1024, 227 * 1024)),
    multiprocessors=st.integers(1, 200),
)
def test_tucker_blocks_cover_all_channels_within_the_device(
    probe, sizes, ranks, scalar, shared_bytes, multiprocessors
):
    shape = probe.TuckerShape()
    shape.batch, shape.out_channels, shape.in_channels, shape.kernel_h, shape.kernel_w = sizes
    shape.rank_out, shape.rank_in, shape.rank_h, shape.rank_w = ranks
    limits = make_limits(probe, multiprocessors)
    limits.shared_bytes = shared_bytes
    plan = probe.plan_tucker(shape, getattr(probe.ScalarKind, scalar), limits)
    assert plan.threads * plan.register_budget <= probe.registers_per_multiprocessor
    assert plan.shared_bytes <= shared_bytes
    batch, out, in_ = sizes[:3]
    per_channel = ranks[0] * (ranks[2] * ranks[3] + sizes[3] * sizes[4])
    per_channel *= 8 if scalar == "float64" else 4
    if plan.variant == probe.TuckerVariant.plain:
        assert per_channel > shared_bytes
        total = batch * out * in_ * sizes[3] * sizes[4]
        assert plan.blocks == -(-total // plan.threads)
        return
    assert plan.tile_in * per_channel == plan.shared_bytes
    # More than the default is only asked for where a single channel needs it.
    assert plan.shared_bytes <= probe.default_shared_bytes or plan.tile_in == 1
    for tiles, tile, channels in (
        (plan.tiles_in, plan.tile_in, in_),
        (plan.tiles_out, plan.tile_out, out),
    ):
        assert (tiles - 1) * tile < channels <= tiles * tile or channels == tiles == 0
    assert plan.blocks == batch * plan.tiles_in * plan.tiles_out
