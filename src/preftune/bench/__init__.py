"""Measured comparisons with what a user would pick instead: `make bench`."""
