"""The operators against what one writes without them in PyTorch: `python -m benchmarks.ops`."""
