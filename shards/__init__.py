"""Named arrays in tar files, with an index: a small library that has never heard of galaxies."""
