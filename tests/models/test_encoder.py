import torch

from ksdiff.models.encoder import PLFE, FusionLevel, LinearCrossAttention
from ksdiff.models.layers import PatchConv2d


def _plfe(**changes) -> PLFE:
    torch.manual_seed(0)
    fields = {"width": 16, "levels": 3, "heads": 2, "tokens": 9, "out_channels": 8}
    return PLFE(PatchConv2d(3, 16, 4), PatchConv2d(5, 16, 4), **{**fields, **changes})


def test_the_prior_has_the_same_shape_for_every_image_size():
    encoder = _plfe()
    for height, width in ((32, 32), (40, 96), (128, 64)):
        z = encoder(torch.randn(2, 3, height, width), torch.randn(2, 5, height, width))
        assert z.shape == (2, 9, 8)


def test_linear_attention_equals_its_quadratic_form():
    torch.manual_seed(0)
    attention = LinearCrossAttention(8, heads=2)
    x, y = torch.randn(2, 1, 8, 5, 6)
    query = attention.query(x).flatten(2).unflatten(1, (2, 4)).softmax(2)
    key, value = (
        part.flatten(2).unflatten(1, (2, 4)) for part in attention.key_value(y).chunk(2, 1)
    )
    weights = torch.einsum("bhdp,bhdq->bhpq", query, key.softmax(-1))  # pixel by pixel
    expected = torch.einsum("bhpq,bheq->bhep", weights, value).flatten(1, 2).unflatten(-1, (5, 6))
    torch.testing.assert_close(attention(x, y), attention.project(expected))


def test_the_gate_chooses_between_the_branches():
    torch.manual_seed(0)
    level = FusionLevel(8, heads=2)
    x, y = torch.randn(2, 1, 8, 4, 4)
    attended = level.attention(x, y)
    for bias, chosen in ((50.0, x), (-50.0, level.project(y))):
        torch.nn.init.zeros_(level.gate.weight)
        torch.nn.init.constant_(level.gate.bias, bias)
        torch.testing.assert_close(level(x, y), level.refine(chosen + attended))


def test_the_prior_depends_on_source_and_guide():
    encoder = _plfe()
    source, guide = torch.randn(1, 3, 32, 32), torch.randn(1, 5, 32, 32)
    z = encoder(source, guide)
    assert not torch.allclose(z, encoder(source.flip(-1), guide))
    assert not torch.allclose(z, encoder(source, guide.flip(-1)))
