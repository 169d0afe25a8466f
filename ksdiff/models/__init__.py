"""KSDiff's networks: modules that take and return tensors."""
