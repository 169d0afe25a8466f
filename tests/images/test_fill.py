import torch

from ksdiff.images.fill import fill_invalid


def test_valid_pixels_stay_and_holes_take_what_lies_beside_them():
    values = torch.full((1, 2, 40, 40), 5.0)
    values[:, 1] = 9.0
    valid = torch.ones_like(values, dtype=torch.bool)
    valid[:, :, 10:20, 10:30] = False
    values[~valid] = torch.nan
    filled = fill_invalid(values, valid, torch.zeros(1, 2, 1, 1), 16)
    torch.testing.assert_close(filled[:, 0], torch.full((1, 40, 40), 5.0))
    torch.testing.assert_close(filled[:, 1], torch.full((1, 40, 40), 9.0))


def test_bands_have_holes_of_their_own():
    values = torch.rand(1, 2, 16, 16)
    valid = torch.ones_like(values, dtype=torch.bool)
    valid[0, 1, 3:6, 3:6] = False
    filled = fill_invalid(values, valid, torch.zeros(1, 2, 1, 1), 8)
    assert torch.equal(filled[0, 0], values[0, 0])
    assert torch.equal(filled[valid], values[valid])


def test_beyond_reach_the_fallback_stands():
    values = torch.ones(1, 1, 64, 64)
    valid = torch.zeros_like(values, dtype=torch.bool)
    valid[..., :8] = True
    filled = fill_invalid(values, valid, torch.full((1, 1, 1, 1), 7.0), 10)
    assert (filled[..., :18] == 1).all() and (filled[..., 18:] == 7).all()


def test_a_window_filled_alone_is_the_scene_filled_at_once_away_from_its_rim():
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(1, 3, 96, 96, generator=generator)
    valid = torch.rand(1, 3, 96, 96, generator=generator) > 0.2
    valid[..., 30:60, 20:70] = False
    fallback = torch.full((1, 3, 1, 1), 0.5)
    whole = fill_invalid(values, valid, fallback, 12)
    part = fill_invalid(values[..., 16:80, 8:88], valid[..., 16:80, 8:88], fallback, 12)
    torch.testing.assert_close(part[..., 12:-12, 12:-12], whole[..., 28:68, 20:76])


def test_nothing_valid_gives_the_fallback():
    values = torch.full((1, 1, 8, 8), torch.nan)
    filled = fill_invalid(values, torch.zeros(1, 1, 8, 8, dtype=torch.bool), torch.tensor(3.0), 4)
    assert (filled == 3).all()
