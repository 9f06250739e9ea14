"""Real observations: FITS cubes -> l-v image -> map of H2 density.

In: position-position-velocity cubes of a telescope, and trained runs. Out: the longitude-velocity image on the grid of
a network (`iris cube`: .npz or .fits) and the reverted map (`iris revert`: map.fits, figure, quality). Start with
`revert.py`, which calls the rest in order:

    cube_file       a FITS cube: slabs of its channels in kelvin, with what the files below find
    fits_file       opening: sizes are checked first, and no warning of astropy is lost
    fits_header     a header read as it is meant, or refused by the card's name
    sky_pixels      pixels <-> Galactic positions, also around the sky
    spectral_cards  what headers say about the spectral axis, in the terms of the FITS standard; `spectral_axis`
    brightness_unit the unit of the values, with `header_units`, `beam` and `blanks`
    regrid          cubes -> l-v image, with the area overlaps of `overlap`
    lv_image        the l-v image and its files
    density_map     the map with the record of its making and quality, and its FITS file
    fits_image      cubes and l-v images for figures
"""
