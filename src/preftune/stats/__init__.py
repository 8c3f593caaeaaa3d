"""Intervals and paired bootstraps over items and seeds."""
