"""Objectives beside DPH and DPO, one file each, and the registry by which settings name all of them."""
