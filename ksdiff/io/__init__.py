"""Files of scenes: reading rasters and PanCollection, writing GeoTIFFs."""
