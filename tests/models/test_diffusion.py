import pytest
import torch
from diffusers import DDIMScheduler

from ksdiff.config import DiffusionConfig
from ksdiff.models.diffusion import Denoiser, Schedule, ddim_sample, ddim_timesteps

CONFIG = DiffusionConfig(steps=8, sampling_steps=4)


def _peer(schedule: Schedule, sampling_steps: int) -> DDIMScheduler:
    """diffusers' DDIM on our betas; its time t is our t + 1."""
    alpha_bar = schedule.alpha_bar.double()
    peer = DDIMScheduler(
        num_train_timesteps=schedule.steps,
        trained_betas=(1 - alpha_bar[1:] / alpha_bar[:-1]).tolist(),
        clip_sample=False,
        prediction_type="sample",
        timestep_spacing="trailing",
        set_alpha_to_one=True,
    )
    peer.set_timesteps(sampling_steps)
    return peer


def test_noise_is_added_as_diffusers_does():
    schedule = Schedule(CONFIG)
    z, noise = torch.randn(2, 5, 4, 3)
    t = torch.tensor([1, 3, 5, 7, 8])
    expected = _peer(schedule, 8).add_noise(z, noise, t - 1)
    torch.testing.assert_close(schedule.add_noise(z, noise, t), expected, rtol=1e-5, atol=1e-5)


def test_time_zero_is_the_clean_latent():
    z, noise = torch.randn(2, 3, 4, 3)
    clean = Schedule(CONFIG).add_noise(z, noise, torch.zeros(3, dtype=torch.long))
    torch.testing.assert_close(clean, z)


@pytest.mark.parametrize("sampling_steps", [1, 2, 4, 8])
def test_ddim_follows_diffusers_step_by_step(sampling_steps):
    schedule = Schedule(CONFIG)
    condition, noise = torch.randn(2, 3, 4, 6)

    def denoiser(z, t, condition):
        return torch.tanh(z + condition + t[:, None, None] / 8)

    peer, z = _peer(schedule, sampling_steps), noise
    for t in peer.timesteps:
        predicted = denoiser(z, torch.full((3,), int(t) + 1), condition)
        z = peer.step(predicted, t, z).prev_sample
    ours = ddim_sample(denoiser, schedule, condition, noise, sampling_steps)
    torch.testing.assert_close(ours, z, rtol=1e-4, atol=1e-4)


def test_a_perfect_denoiser_is_recovered_from_any_noise():
    target = torch.randn(2, 4, 6)
    sampled = ddim_sample(lambda z, t, c: target, Schedule(CONFIG), target, torch.randn(2, 4, 6), 3)
    torch.testing.assert_close(sampled, target)


def test_timesteps_start_at_the_noise_and_descend():
    assert ddim_timesteps(8, 4) == [8, 6, 4, 2]
    assert ddim_timesteps(4, 1) == [4]
    with pytest.raises(ValueError, match="sampling_steps: expected 1 to 4"):
        ddim_timesteps(4, 5)


def test_the_denoiser_uses_latent_time_and_condition():
    torch.manual_seed(0)
    denoiser = Denoiser(4, 6, DiffusionConfig(width=16, depth=1))
    z, c, t = torch.randn(2, 4, 6), torch.randn(2, 4, 6), torch.tensor([1, 1])
    base = denoiser(z, t, c)
    assert base.shape == z.shape
    for changed in (denoiser(z + 1, t, c), denoiser(z, t + 1, c), denoiser(z, t, c + 1)):
        assert not torch.allclose(base, changed)
