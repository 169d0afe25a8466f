"""What several test modules share."""

from pathlib import Path

from rasterio.crs import CRS
from rasterio.transform import Affine

ROOT = Path(__file__).resolve().parents[2]
UTM = CRS.from_epsg(32631)
PAN_GRID = Affine(0.5, 0, 500_000, 0, -0.5, 5_400_000)
