"""Whole scenes through the model: survey, windows, blending, pictures."""
