"""Figures of both papers: numpy and matplotlib only, no model is loaded here."""
