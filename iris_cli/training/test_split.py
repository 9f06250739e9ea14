"""Which pairs of a data set to test on, and whether the network was trained on them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from iris_cli.console import log, warn
from iris_cli.pairs.open_data import shards_folder
from iris_cli.training.checkpoint import Checkpoint
from shards.index import Index

#: Splits that a test prefers, because no step was taken on them.
HELD_OUT = ("test", "validation")
#: Of shards, or of tensors and how they were observed; the names of splits stand between them.
_DIGEST = re.compile(r"[0-9a-f]{64}|[0-9a-f]{16}")


def split_to_test(folders: Sequence[str], split: str | None, checkpoints: Sequence[Checkpoint]) -> str:
    """The split that was asked for, else one that was held out, else "" for all pairs.

    Says so where the checkpoints were, or may have been, trained on these very pairs.
    """
    found = {folder: Index.open(shards_folder(folder)) for folder in folders}
    if not split:
        for name in HELD_OUT:
            if all(index.splits.get(name) for index in found.values()):
                return name
    if split not in HELD_OUT:
        for folder, index in found.items():
            if split and split not in index.splits:
                continue  # whoever opens it says that there is none
            tell(Path(folder).name, split, trained_on(checkpoints, index.fingerprint))
    return split or ""


def tell(name: str, split: str | None, known: bool | None) -> None:
    """Say whether the pairs that are taken were trained on, as `trained_on` knows it."""
    pairs = f"the {split} split of {name}" if split else name
    without = "" if split else " and holds neither a test nor a validation split, so that all its pairs are taken"
    if known:
        warn(f"{pairs} is what the network was trained on{without}: it does better there than on unseen galaxies")
    elif known is None:
        warn(f"{pairs} may be what the network was trained on, whose checkpoint does not say{without}")
    else:
        log(f"{pairs} is not what the network was trained on{without}")


def trained_on(checkpoints: Sequence[Checkpoint], fingerprint: str) -> bool | None:
    """Whether any of the networks was trained on (part of) the data set of this fingerprint; None if nobody knows.

    The same galaxies, written or observed anew, are another data set.
    """
    known = [_digests(checkpoint.data.fingerprint) for checkpoint in checkpoints]
    if any(digests & _digests(fingerprint) for digests in known):
        return True
    return False if known and all(known) else None


def _digests(fingerprint: str) -> set[str]:
    """The data sets of a fingerprint; none of a network that came from elsewhere."""
    if fingerprint.startswith("imported:"):
        return set()
    return {part for part in fingerprint.split(":") if _DIGEST.fullmatch(part)}
