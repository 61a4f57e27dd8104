"""Betti matching of images: barcodes, matchings, loss, metric, drawings."""
