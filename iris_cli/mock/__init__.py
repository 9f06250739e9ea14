"""Mock galaxies and foregrounds: a seed in, a standard data set out. Start with `galaxy.py`; `generate.py` writes."""
