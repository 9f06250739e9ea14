"""Named arrays in tar files, with an index: a small library that knows nothing about galaxies.

In: samples, which are named arrays with a key and a group. Out: a folder of tar shards with an index, and batches read
from it. Open `layout` first for the files of a folder; `writer.write_set` writes one, `index.Index` describes it,
`stream` reads it, `verify` checks and repairs it.
"""
