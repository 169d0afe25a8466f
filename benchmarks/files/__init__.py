"""Whole files through the command: beside GDAL, and larger than memory."""
