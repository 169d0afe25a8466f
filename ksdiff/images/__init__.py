"""Images of a scene as tensors: filters, degradation, shifts, network inputs."""
