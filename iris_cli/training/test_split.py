"""Which pairs of a data set, and which pieces of litter, to test on: those that the network has not met."""

from collections.abc import Sequence
from functools import reduce
from operator import or_

import numpy as np

from iris_cli.config.train import TrainConfig
from iris_cli.console import log, plural, warn
from iris_cli.errors import DataError
from iris_cli.pairs.datasets import Pairs
from iris_cli.pairs.divide import litter_parts
from iris_cli.pairs.open_data import shards_folder
from iris_cli.pairs.overlap import TEST, VALIDATION, Seen, digests, is_in, once, resolved
from iris_cli.training.checkpoint import Checkpoint
from shards.index import Index
from shards.order import Numbers

#: The splits that a test prefers, because no step was trained on them.
HELD_OUT = (TEST, VALIDATION)


def split_to_test(folders: Sequence[str], split: str | None) -> str:
    """The split that was named, else one that was held out, else "" for all pairs."""
    found = [Index.open(shards_folder(folder)) for folder in folders]
    if split == "all" and not any(split in index.splits for index in found):
        return ""
    held_out = (name for name in HELD_OUT if all(index.splits.get(name) for index in found))
    return split or next(held_out, "")


def seen_by(checkpoints: Sequence[Checkpoint]) -> Seen | None:
    """What any of the networks has met; None where that is not known of one of them."""
    known = [checkpoint.seen for checkpoint in checkpoints]
    return reduce(or_, (seen for seen in known if seen), Seen()) if known and all(known) else None


def pairs_to_test(pairs: Pairs, split: str, seen: Seen | None, rule: str) -> Numbers:
    """The pairs of a test, each once: without those whose galaxies the networks have met, according to `rule`.

    Galaxies of the validation may be in a test that is called one of validation. DataError when there are such pairs
    and they are refused, or when none is left.
    """
    numbers, name = np.arange(len(pairs)), f"the {split} split of {pairs.name}" if split else pairs.name
    if pairs.joined:
        numbers = once(numbers, pairs.marks, pairs.name, split)
    if seen is None:
        warn(f"{name} may be what the network was trained on: its checkpoint has no record of it")
        return numbers
    for known, did in ((seen.trained, "trained on"), (seen.validated, "validated with")):
        marks = pairs.marks.of(numbers)
        found = marks.among(known)
        if not found.any():
            continue
        met, galaxies = marks.of(np.flatnonzero(found)).galaxies, plural(marks.galaxies, "galaxy", "galaxies")
        what = f"the network was {did} {met} of {galaxies} of {name}"
        if known is seen.validated and split == VALIDATION:
            warn(f"{what}, which selected its best checkpoint: unseen galaxies may score lower")
            continue
        numbers = resolved(numbers, found, what, rule, "test on other galaxies")
        if len(numbers) == 0:
            raise DataError(f"{what}: none is left to test on", "test on other galaxies")
    if split not in HELD_OUT:
        log(f"tested on {plural(len(numbers), 'pair')} of {name}, which holds no test split")
    return numbers


def litter_to_test(litter: Pairs, hyper: TrainConfig, seen: Seen | None) -> Numbers:
    """The litter of a test: what the networks have not met; where that is not known, the part for tests.

    DataError when they have met all of it, unless that is allowed.
    """
    if seen is None or hyper.overlap == "allow":
        return litter_parts(litter, hyper)[TEST]
    met = is_in(digests(litter.groups()), seen.litter) | is_in(digests(litter.views()), seen.litter)
    if met.all():
        images = plural(len(litter), "image")
        what = f"the network was trained or validated with all {images} of litter of {litter.name}"
        hint = "`iris test` with --litter OTHER, --no-litter or --overlap allow; `iris plot pair --clean`"
        raise DataError(what, hint)
    return np.flatnonzero(~met)
