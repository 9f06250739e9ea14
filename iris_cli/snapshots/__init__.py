"""Snapshots of simulations (HDF5 files of AREPO, GADGET, GIZMO, EAGLE, SWIFT) in, a standard data set out.

Start with `ingest.py`, the work of `iris ingest`. For each snapshot, `reader.py` reads the gas in inner units
(`codes.py` lists what the codes call things, `units.py` and `field_sources.py` resolve units and missing fields),
`galaxy.py` orients it, `augment.py` draws its variations, and `view.py` fills the observer's grid.
"""
