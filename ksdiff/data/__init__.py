"""Scenes in, tensors out: files, Wald's protocol, normalised network inputs."""
