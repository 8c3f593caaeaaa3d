"""Frozen image encoders: images to grids of features."""
