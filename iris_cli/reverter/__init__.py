"""Networks that turn longitude-velocity images into top-down maps of H2 density.

In: l-v images (N, 1, S, S). Out: H2 densities (N, 1, S, S), rows of distance and columns of longitude. Start with
`reverter.py`, the module that training and `iris revert` call. `networks.py` lists the networks by name; each has a
file of its own (`paper.py`, `columns.py`) built from `layers.py` and `cpu_layers.py`. This package imports no
code for FITS files, observers or data sets.
"""
