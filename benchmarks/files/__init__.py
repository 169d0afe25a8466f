"""Whole files through the command: beside GDAL, and far larger than memory."""
