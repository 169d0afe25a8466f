"""convnext_block in one pass equals what it is composed of, wherever and however it runs."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ksdiff_ops import convnext_block

pytestmark = pytest.mark.usefixtures("seeded")
NAMES = (
    *("depthwise", "depthwise_bias", "norm_weight", "norm_bias", "expand", "expand_bias"),
    *("project", "project_bias", "scale"),
)


def weights(channels=16, hidden=32, side=7, dtype=torch.float32):
    shapes = (
        *((channels, 1, side, side), (channels,), (channels,), (channels,)),
        *((hidden, channels), (hidden,), (channels, hidden), (channels,), (channels,)),
    )
    return [torch.randn(shape, dtype=torch.float64).to(dtype) / 3 for shape in shapes]


def image(*shape, dtype=torch.float32):
    return torch.randn(shape, dtype=dtype).contiguous(memory_format=torch.channels_last)


def composed(x, *weights):
    """In float64, of PyTorch's layers."""
    x, (depthwise, depthwise_bias, gain, shift, expand, expand_bias, project, bias, scale) = (
        x.double(),
        [weight.double() for weight in weights],
    )
    channels = x.shape[1]
    first = nn.Conv2d(channels, channels, depthwise.shape[2:], padding="same", groups=channels)
    norm = nn.LayerNorm(channels, 1e-6)
    state = ((first, depthwise, depthwise_bias), (norm, gain, shift))
    for layer, weight, offset in state:
        layer.double()
        layer.weight.data, layer.bias.data = weight, offset
    y = nn.GELU()(norm(first(x).movedim(1, -1)) @ expand.T + expand_bias) @ project.T + bias
    return (x + (scale * y).movedim(-1, 1)).detach()


@given(
    batch=st.integers(0, 2),
    channels=st.sampled_from([16, 48]),
    hidden=st.sampled_from([16, 32, 80]),
    height=st.integers(1, 20),
    width=st.integers(1, 140),
)
@settings(max_examples=25, deadline=None)
def test_it_is_the_block(batch, channels, hidden, height, width):
    x, given = image(batch, channels, height, width), weights(channels, hidden)
    y = convnext_block(x, *given)
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y.double(), composed(x, *given), rtol=1e-5, atol=1e-5)


def test_every_value_passes_gelu_well():
    """Through weights that hand the first channel's hidden value out as it is."""
    x, given = torch.zeros(1, 16, 1, 4001), weights(16, 16)
    for value, name in zip(given, NAMES, strict=True):
        value.fill_(0.0 if name not in ("scale", "norm_weight") else 1.0)
    x = x.contiguous(memory_format=torch.channels_last)
    values = torch.linspace(-12, 12, 4001)
    for at in (0, 1000, 2600, 4000):
        given[NAMES.index("expand_bias")].fill_(values[at])
        given[NAMES.index("project")].copy_(torch.eye(16))
        expected = nn.functional.gelu(values[at].double())
        ours = convnext_block(x[..., :1], *given)[0, 0, 0, 0].double()
        assert (ours - expected).abs() < 1.5e-6


def test_a_pixel_has_the_same_bits_wherever_it_is():
    x, given = image(2, 32, 40, 150), weights(32, 64)
    whole = convnext_block(x, *given)
    part = x[1:, :, 5:31, 21:97].contiguous(memory_format=torch.channels_last)
    inside = convnext_block(part, *given)[0, :, 3:-3, 3:-3]
    assert inside.equal(whole[1, :, 8:28, 24:94])
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    assert convnext_block(x, *given).equal(whole)
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    "change",
    [
        lambda x, given: (x.contiguous(), given),
        lambda x, given: (x[:, :, ::2, 1:], given),
        lambda x, given: (x, weights(side=5)),
        lambda x, given: (x, weights(hidden=20)),
        lambda x, given: (x[:, :12], weights(channels=12)),
        lambda x, given: (x.double(), [value.double() for value in given]),
        lambda x, given: (x, [value.repeat_interleave(2, 0)[::2] for value in given]),
    ],
)
def test_other_layouts_kernels_and_dtypes_give_the_same(change):
    x, given = change(image(1, 16, 9, 11), weights())
    torch.testing.assert_close(
        convnext_block(x, *given).double(), composed(x, *given), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_result_takes_memory_that_is_given(dtype):
    x, given = image(2, 16, 9, 70, dtype=dtype), weights(dtype=dtype)
    memory = image(2, 16, 9, 70, dtype=dtype)
    assert convnext_block(x, *given, out=memory) is memory
    assert memory.equal(convnext_block(x, *given))


def test_empty_batches_have_no_memory_to_share():
    x, memory = image(0, 16, 9, 11), image(0, 16, 9, 11)
    assert convnext_block(x, *weights(), out=memory) is memory


@pytest.mark.parametrize(
    ("memory", "match"),
    [
        (lambda x: x, "out: expected memory of its own"),
        (lambda x: x[:, :, 1:], r"out: expected .*\[1, 16, 9, 11\]"),
        (lambda x: x.double(), "out: "),
        (lambda x: 3, "out: "),
    ],
)
def test_other_memory_is_refused(memory, match):
    x = image(1, 16, 9, 11)
    with pytest.raises((TypeError, ValueError), match=match):
        convnext_block(x, *weights(), out=memory(x))


def test_tensors_without_data_have_its_shape():
    x = image(2, 16, 9, 11).to("meta")
    assert convnext_block(x, *(value.to("meta") for value in weights())).shape == x.shape


def test_autocast_casts_the_layers():
    x, given = image(1, 16, 9, 11), weights()
    with torch.autocast("cpu", torch.bfloat16):
        y = convnext_block(x.bfloat16(), *given)
    torch.testing.assert_close(y.float(), convnext_block(x, *given), rtol=0.1, atol=0.3)


def test_gradients_are_those_of_the_layers():
    x = image(1, 4, 5, 6, dtype=torch.float64)
    leaves = [value.requires_grad_() for value in (x, *weights(4, 6, 3, torch.float64))]
    assert torch.autograd.gradcheck(convnext_block, leaves, fast_mode=True)


def test_gradients_are_recorded_where_one_pass_would_serve():
    x, given = image(1, 16, 9, 11), weights()
    given[0].requires_grad_()
    y = convnext_block(x, *given)
    y.sum().backward()
    assert given[0].grad is not None
    with torch.no_grad():
        torch.testing.assert_close(convnext_block(x, *given), y.detach(), rtol=1e-5, atol=1e-5)


def test_compiled_programs_contain_the_layers():
    x, given = image(1, 16, 9, 11), weights()
    program = torch.export.export(_Block(given), (x,))
    assert "convnext" not in str(program.graph)
    torch.testing.assert_close(program.module()(x), convnext_block(x, *given), rtol=1e-5, atol=1e-5)


def test_compilers_and_transforms_see_the_layers():
    x, given = image(2, 16, 9, 11), weights()
    expected = convnext_block(x, *given)
    compiled = torch.compile(convnext_block, fullgraph=True, backend="eager")
    batched = torch.func.vmap(lambda image: convnext_block(image[None], *given)[0])
    for form in (compiled, lambda x, *given: batched(x)):
        torch.testing.assert_close(form(x, *given), expected, rtol=1e-5, atol=1e-5)


class _Block(nn.Module):
    def __init__(self, given):
        super().__init__()
        self.given = nn.ParameterList(given)

    def forward(self, x):
        return convnext_block(x, *self.given)


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_must_fit(name):
    x, given = image(1, 16, 9, 11), dict(zip(NAMES, weights(), strict=True))
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        short = given[name][:, :5] if name == "expand" else given[name][:5]
        convnext_block(x, **given | {name: short})
    with pytest.raises(TypeError, match=f"^{name}: expected the dtype of x"):
        convnext_block(x, **given | {name: given[name].double()})
    with pytest.raises(TypeError, match=f"^{name}: expected a tensor"):
        convnext_block(x, **given | {name: [1.0]})


def test_a_kernel_of_even_size_is_refused():
    with pytest.raises(ValueError, match="depthwise: expected a kernel of odd size, got 4 x 4"):
        convnext_block(image(1, 16, 9, 11), *weights(side=4))
