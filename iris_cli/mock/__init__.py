"""Mock galaxies and foregrounds: a seed in, a standard data set out. Start with `draw.py`; `generate.py` writes."""
