"""Which pairs of a data set to test on, and whether the network was trained on them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from iris_cli.console import log, warn
from iris_cli.pairs.open_data import shards_folder
from iris_cli.training.checkpoint import Checkpoint
from shards.index import Index

#: The splits that a test prefers, because no step was trained on them.
HELD_OUT = ("test", "validation")
#: The digest of shards, or of observed tensors; a fingerprint has names of splits between them.
_DIGEST = re.compile(r"[0-9a-f]{64}|[0-9a-f]{16}")


def split_to_test(folders: Sequence[str], split: str | None, checkpoints: Sequence[Checkpoint]) -> str:
    """The split that was named, else one that was held out, else "" for all pairs.

    Warns where the checkpoints were, or may have been, trained on these pairs.
    """
    found = {folder: Index.open(shards_folder(folder)) for folder in folders}
    if not split:
        for name in HELD_OUT:
            if all(index.splits.get(name) for index in found.values()):
                return name
    if split not in HELD_OUT:
        for folder, index in found.items():
            if split and split not in index.splits:
                continue  # opening it is an error that names the split
            warn_if_trained_on(Path(folder).name, split, trained_on(checkpoints, index.fingerprint))
    return split or ""


def warn_if_trained_on(name: str, split: str | None, trained: bool | None) -> None:
    """Log whether the network was trained on these pairs; `trained` is None where that is not known."""
    pairs = f"the {split} split of {name}" if split else name
    all_pairs = "" if split else " and holds neither a test nor a validation split, so that all its pairs are used"
    if trained:
        warn(f"{pairs} is what the network was trained on{all_pairs}: it scores better there than on unseen galaxies")
    elif trained is None:
        warn(f"{pairs} may be what the network was trained on: its checkpoint has no record of it{all_pairs}")
    else:
        log(f"{pairs} is not what the network was trained on{all_pairs}")


def trained_on(checkpoints: Sequence[Checkpoint], fingerprint: str) -> bool | None:
    """Whether any of the networks was trained on (part of) the data set of this fingerprint; None if not known.

    The same galaxies, written or observed anew, are another data set.
    """
    known = [_digests(checkpoint.data.fingerprint) for checkpoint in checkpoints]
    if any(digests & _digests(fingerprint) for digests in known):
        return True
    return False if known and all(known) else None


def _digests(fingerprint: str) -> set[str]:
    """The data sets of a fingerprint; none for an imported network."""
    if fingerprint.startswith("imported:"):
        return set()
    return {part for part in fingerprint.split(":") if _DIGEST.fullmatch(part)}
