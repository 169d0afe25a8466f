"""Drawn scenes with known truth, and scenes degraded by Wald's protocol."""
