"""Scores of candidates and the metrics made of them."""
