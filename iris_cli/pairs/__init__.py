"""Pairs of an observation and the density behind it: written to shards once, streamed in batches to a training.

In: standard data sets and an observer (`preobserve` writes shards), or shards, or standard data observed on the fly
(`datasets`). Out: batches of tensors with litter and noise added. Open `stream` first: it lists the stages.
"""
