"""Figures, one per file: l-v images, views from above, moments, spectra, pairs, losses, reverted maps, and those of a
report.

In: arrays with the grid or the axes that they are on. Out: matplotlib figures, which `style.save` writes as PNG, PDF or
SVG. Start with `axes_of_sky.py`, which has the directions of axes, labels and colour scales of all figures.
Nothing here reads files of data or runs networks.
"""
