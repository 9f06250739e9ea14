"""What a training and a test are made on: items of pairs, and pieces of litter, of which none is in two splits."""

from collections.abc import Sequence
from functools import reduce
from operator import or_

import numpy as np

from iris_cli.config.train import TrainConfig
from iris_cli.console import log, plural, warn
from iris_cli.errors import DataError
from iris_cli.pairs.datasets import Pairs
from iris_cli.pairs.open_data import shards_folder
from iris_cli.pairs.overlap import NONE, TEST, TRAIN, VALIDATION, Seen, digests, is_in, once, resolved
from shards.index import Index
from shards.order import Numbers, stream_key
from shards.splits import group_split, place

#: Shares of the pieces of litter.
LITTER_FRACTIONS = {TRAIN: 0.6, VALIDATION: 0.2, TEST: 0.2}


def divide(pairs: Pairs, hyper: TrainConfig) -> tuple[Numbers, Numbers]:
    """The items to train on and those to validate with: the data sets' own splits, else a share of the galaxies.

    DataError when no item is left to train on, or when a galaxy is in two splits, unless `hyper.overlap` says what to
    do about it.
    """
    splits = pairs.splits(hyper.validation_data_fraction, hyper.split_seed)
    marks = pairs.marks
    if pairs.joined:
        splits = {name: once(numbers, marks, pairs.name, name) for name, numbers in splits.items()}
    held_out, before = NONE, ""
    for name in (TEST, VALIDATION, TRAIN):
        found = marks.of(splits[name]).among(held_out)
        if found.any():
            both = marks.of(splits[name][found]).galaxies, marks.of(splits[name]).galaxies
            what = f"{both[0]} of {plural(both[1], 'galaxy', 'galaxies')} in the {name} split of {pairs.name} "
            splits[name] = resolved(
                splits[name], found, f"{what}{'is' if both[0] == 1 else 'are'} also in {before}", hyper.overlap
            )
        held_out = np.union1d(held_out, marks.of(splits[name]).known)
        before = f"{before} or {name}" if before else f"its {name}"
    if len(splits[TRAIN]) == 0:
        hint = "of data without splits, `--validation-fraction 0` trains on all; shards need a split 'train'"
        raise DataError(f"{pairs.name} holds no sample to train on", hint)
    return splits[TRAIN], splits[VALIDATION]


def set_aside(pairs: Pairs, train: Numbers, hyper: TrainConfig) -> tuple[Numbers, Numbers]:
    """The items to train the first network on, and those for a stage whose galaxies it has not seen.

    Both are all items where no stage needs it. A galaxy's part depends on its identity and `split_seed` alone.
    DataError when one part is empty.
    """
    share = hyper.unseen_fraction
    if share == 0.0 or pairs.fresh:  # no fresh galaxy is met twice
        return train, train
    groups = pairs.groups()
    unseen = np.array([stream_key("unseen", hyper.split_seed, groups[i]) < share * 2.0**64 for i in train])
    if unseen.all() or not unseen.any():
        what = f"a share of {share:g} of {plural(len(train), 'training sample')} leaves none for a stage"
        raise DataError(what, "add galaxies, or set unseen_fraction = 0 in the table [samples]")
    return train[~unseen], train[unseen]


def litter_parts(litter: Pairs, hyper: TrainConfig) -> dict[str, Numbers]:
    """The items of litter for training, validation and test: disjoint pieces, by their identity and `split_seed`.

    A part that would be empty takes one piece of the largest part. Views of fewer than three galaxies are pieces of
    their own. DataError for fewer than three images, unless overlaps are allowed.
    """
    everything = np.arange(len(litter))
    if hyper.overlap == "allow":
        return dict.fromkeys(LITTER_FRACTIONS, everything)
    pieces = litter.pieces()
    if len(set(pieces)) < len(LITTER_FRACTIONS):
        images = plural(len(litter), "image")
        what = f"{litter.name} holds {images} of litter; training, validation and test need one each"
        raise DataError(what, "write more, or `--overlap allow` uses the same in all")
    parts = group_split(pieces, LITTER_FRACTIONS, hyper.split_seed)
    for empty in [name for name, items in parts.items() if not items]:
        richest = max(parts, key=lambda name: len({pieces[i] for i in parts[name]}))
        moved = min({pieces[i] for i in parts[richest]}, key=lambda piece: place(piece, hyper.split_seed))
        parts[empty] = [i for i in parts[richest] if pieces[i] == moved]
        parts[richest] = [i for i in parts[richest] if pieces[i] != moved]
    return {name: np.array(items, np.int64) for name, items in parts.items()}


# --- what a network has not met ---------------------------------------------------------------------------------------

#: The splits that a test prefers, because no step was trained on them.
HELD_OUT = (TEST, VALIDATION)


def split_to_test(folders: Sequence[str], split: str | None) -> str:
    """The split that was named, else one that was held out, else "" for all pairs."""
    found = [Index.open(shards_folder(folder)) for folder in folders]
    if split == "all" and not any(split in index.splits for index in found):
        return ""
    held_out = (name for name in HELD_OUT if all(index.splits.get(name) for index in found))
    return split or next(held_out, "")


def seen_by_any(networks: Sequence[Seen | None]) -> Seen | None:
    """What any of some networks has met; None where that is not known of one of them."""
    known = [seen for seen in networks if seen is not None]
    return reduce(or_, known) if known and len(known) == len(networks) else None


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
