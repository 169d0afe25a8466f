"""What adapting to a scene gains on sensors that the weights have not seen."""
