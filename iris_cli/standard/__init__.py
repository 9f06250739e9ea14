"""Standard data sets: folders of physical tensors (6, R, L, B), read in inner units.

Start with `dataset.py`, the native format; `paper_format.py` reads what the IRIS paper's code writes. `grid.py` places
the cells in the galaxy, `top_down_plane.py` the pixels of a view from above; `orbit.py` and `orbit_footprint.py` hold
the orbit models of the Central Molecular Zone.
"""
