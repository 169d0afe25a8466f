"""KSDiff against pixel-space diffusion and one-pass networks: training, quality, time."""
