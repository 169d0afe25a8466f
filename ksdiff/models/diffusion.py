"""Latent diffusion: DDPM forward process, a z0-predicting denoiser, DDIM sampling.

Ho et al. 2020 (DDPM), Song et al. 2021 (DDIM). The latent is z [B, N, C_z].
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ksdiff.config import DiffusionConfig


class Schedule(nn.Module):
    """alpha_bar [T + 1] of the forward process, alpha_bar[0] = 1: t = 0 is the clean latent."""

    alpha_bar: Tensor

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        start, end = config.beta_start**0.5, config.beta_end**0.5
        beta = torch.linspace(start, end, config.steps, dtype=torch.float64) ** 2
        alpha_bar = torch.cat((torch.ones(1, dtype=torch.float64), (1 - beta).cumprod(0)))
        self.register_buffer("alpha_bar", alpha_bar.float(), persistent=False)
        self.steps = config.steps

    def add_noise(self, z0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """q(z_t | z_0) = N(sqrt(alpha_bar_t) z_0, (1 - alpha_bar_t) I); t [B] in 0 ... T."""
        alpha_bar = self.alpha_bar[t][:, None, None]
        return alpha_bar.sqrt() * z0 + (1 - alpha_bar).sqrt() * noise

    def remove_noise(self, z: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The z_0 that ``add_noise`` made z_t [B, N, C_z] from; t [B] in 0 ... T."""
        alpha_bar = self.alpha_bar[t][:, None, None]
        return (z - (1 - alpha_bar).sqrt() * noise) / alpha_bar.sqrt()


class Denoiser(nn.Module):
    """z_theta(z_t, t, c): predicts the clean latent z0 directly (paper; steadier than noise here).

    With ``diffusion.predict: noise`` its output is taken for the noise instead.

    A token-and-channel mixer: a few small matrix products, whatever the size of the scene.
    """

    def __init__(self, tokens: int, channels: int, config: DiffusionConfig) -> None:
        super().__init__()
        self.time = nn.Embedding(config.steps + 1, config.width)
        self.stem = nn.Linear(2 * channels, config.width)
        self.blocks = nn.ModuleList(_MixerBlock(tokens, config.width) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, channels)

    def forward(self, z: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        x = self.stem(torch.cat((z, condition), -1)) + self.time(t)[:, None]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class _MixerBlock(nn.Module):
    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.token_norm = nn.LayerNorm(width)
        self.token_mix = nn.Sequential(
            nn.Linear(tokens, 2 * tokens), nn.GELU(), nn.Linear(2 * tokens, tokens)
        )
        self.channel_norm = nn.LayerNorm(width)
        self.channel_mix = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.token_mix(self.token_norm(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channel_mix(self.channel_norm(x))


def ddim_timesteps(steps: int, sampling_steps: int) -> list[int]:
    """The visited times, from T down: ``sampling_steps`` of them, evenly spread, ending above 0."""
    if not 1 <= sampling_steps <= steps:
        raise ValueError(f"sampling_steps: expected 1 to {steps} (the steps), got {sampling_steps}")
    return [round(steps * (sampling_steps - i) / sampling_steps) for i in range(sampling_steps)]


def ddim_sample(
    denoiser: Callable[[Tensor, Tensor, Tensor], Tensor],
    schedule: Schedule,
    condition: Tensor,
    noise: Tensor,
    sampling_steps: int,
) -> Tensor:
    """Deterministic DDIM (eta = 0) from ``noise`` z_T to z_0, both [B, N, C_z]."""
    times = ddim_timesteps(schedule.steps, sampling_steps)
    z = noise
    for now, after in zip(times, [*times[1:], 0], strict=True):
        t = torch.full((len(z),), now, device=z.device)
        z0 = denoiser(z, t, condition)
        here, there = schedule.alpha_bar[now], schedule.alpha_bar[after]
        estimated_noise = (z - here.sqrt() * z0) / (1 - here).sqrt()
        z = there.sqrt() * z0 + (1 - there).sqrt() * estimated_noise
    return z
