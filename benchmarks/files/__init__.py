"""Whole files through the command: beside GDAL, beside other work, and large."""
