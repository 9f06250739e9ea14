"""Named arrays in tar files, with an index: a small library that has never heard of galaxies.

Written by `writer.write_set`, described by `index.Index`, ordered by `plan`, read by `stream`, checked by `verify`.
"""
