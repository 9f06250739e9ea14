"""`--dry-run` of a training or a test: what it would read and write, and its memory, without taking a step."""

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from iris_cli.config.train import TrainConfig
from iris_cli.console import plural
from iris_cli.dry_run import WITH_TORCH, DryRun, size_of
from iris_cli.evaluation.loss import physical_loss
from iris_cli.pairs.datasets import Pairs, litter_of, pairs_of
from iris_cli.pairs.divide import litter_parts, set_aside
from iris_cli.pairs.fresh import training_set, workers_of
from iris_cli.pairs.open_data import open_data, open_litter
from iris_cli.pairs.stream import PairBatch
from iris_cli.training.optimizer import learning_rate, optimizer_and_scheduler
from iris_cli.training.stages import later_stages
from iris_cli.training.tensorboard import check_installed
from iris_cli.training.test import Inputs
from iris_cli.training.train import check_sizes, image_noise_of, new_reverter
from iris_cli.training.trained_run import TrainedRun
from iris_cli.training.training_data import TrainingData

#: Bytes of a float32 number; numbers per weight (itself, its gradient, Adam's two means; several ranks and an EMA add
#: one each) and per output of a layer (itself, kept for the backward pass, and its gradient).
FLOAT, PER_WEIGHT, PER_ACTIVATION = 4, 4, 2


def of_training(hyper: TrainConfig, out: Path, *, members: int = 1, ranks: int = 1) -> DryRun:
    """Opens and divides the data sets and looks up all names, as a training does, and looks at a few pairs.

    Pairs that would have to be observed are not.
    """
    check_installed(hyper.log)
    dataset, observer = open_data(hyper.data, hyper.observer)
    pairs = pairs_of(dataset, observer)
    if litter := litter_of(open_litter(hyper), observer, pairs):
        litter_parts(litter, hyper)
    reverter = new_reverter(pairs, hyper)
    image_noise_of(hyper.noise, pairs)
    physical_loss(hyper), optimizer_and_scheduler(reverter.parameters(), hyper), learning_rate(0.0, hyper)
    training, train, validation = training_set(pairs, hyper)
    seen, unseen = set_aside(training, train, hyper)
    check_sizes(hyper, pairs.name, len(seen), len(validation), ranks)
    looked_at = TrainingData.of(training, train, most=0 if training.on_the_fly else None)
    if not training.on_the_fly:
        hyper = looked_at.normalized(hyper)
    problems = looked_at.problems(hyper.density_normalization_kg_m3)
    plans = [_plan(hyper, reverter, None, len(seen), ranks, training)]
    stages = list(later_stages(hyper))
    for stage in stages:
        network, task = stage.build(hyper, reverter, "", pairs)
        inputs = task.inputs(PairBatch.blank(pairs, task.further), 0)
        own, items = stage.hyper(hyper), unseen if stage.unseen else train
        check_sizes(own, pairs.name, len(items), len(validation), ranks, stage.name)
        plans.append(_plan(own, network, inputs, len(items), ranks, training))
    each = f"{members} members, each " if members > 1 else ""
    makers = workers_of(hyper, {"LOCAL_WORLD_SIZE": str(ranks)}) if training.fresh else 0
    what = [f"{plans[0].text}, {len(validation)} to validate with, network {hyper.network} of {plans[0].parameters}"]
    later = zip(stages, plans[1:], strict=True)
    what += [f"then {stage.name}: {plan.text}, {plan.parameters}" for stage, plan in later]
    folders = [out, *(out / stage.name for stage in stages)]
    return DryRun(
        computes=each + "; ".join(f"{one} parameters" for one in what),
        reads=_read(hyper),
        writes={folder: members * plan.disk for folder, plan in zip(folders, plans, strict=True)},
        memory=ranks * ((1 + makers) * WITH_TORCH + max(plan.memory for plan in plans)),
        processes=ranks * (1 + makers),
        notes=(*problems, *([f"{out} exists: the run would need --resume or --overwrite"] if out.exists() else [])),
    )


@dataclass(frozen=True)
class _Plan:
    """Of one stage: its epochs, steps and pairs in words, and bytes."""

    text: str
    parameters: int
    memory: int
    disk: int


def _plan(
    hyper: TrainConfig, network: nn.Module, inputs: Sequence[Tensor] | None, items: int, ranks: int, pairs: Pairs
) -> _Plan:
    rows = min(hyper.batch_size, math.ceil(items / ranks))
    steps = math.ceil(items / (hyper.batch_size * hyper.batches_per_update * ranks))
    parameters = sum(p.numel() for p in network.parameters())
    per_weight = PER_WEIGHT + (ranks > 1) + (hyper.ema_decay > 0)
    held = rows * (PER_ACTIVATION * activations(network, inputs) + _in_flight(hyper, pairs))
    checkpoint = (3 + (hyper.ema_decay > 0)) * FLOAT * parameters
    kind = ("fresh galaxy", "fresh galaxies") if pairs.fresh else ("pair", "pairs")
    text = f"{plural(hyper.epochs, 'epoch')} of {plural(steps, 'step')}: {plural(items, *kind)} to train on"
    return _Plan(text, parameters, FLOAT * per_weight * parameters + held, (hyper.keep_checkpoints + 1) * checkpoint)


def of_test(hyper: TrainConfig, inputs: Inputs, members: Sequence[TrainedRun], *, ranks: int = 1) -> DryRun:
    reverters, count = [member.checkpoint.make_reverter() for member in members], inputs.normal.count
    weights = FLOAT * sum(p.numel() for reverter in reverters for p in reverter.parameters())
    rows = min(hyper.batch_size, math.ceil(count / ranks))
    held = rows * (activations(reverters[0]) + _in_flight(hyper, inputs.normal.pairs))
    networks = plural(len(reverters), "network")
    return DryRun(
        computes=f"{plural(count, 'pair')} ({inputs.split or 'all'}), each once, by {networks}",
        reads=_read(hyper),
        memory=ranks * (WITH_TORCH + weights + held),
        processes=ranks,
    )


def activations(network: Any, inputs: Sequence[Tensor] | None = None) -> int:
    """Bytes of the outputs of all layers for one pair, counted on the meta device; by default for one image."""
    inputs = inputs or [torch.empty(1, network.channels, network.image_size, network.image_size)]
    network = deepcopy(network).to("meta")
    total = 0

    def count(layer: nn.Module, inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        nonlocal total
        total += sum(t.numel() for t in (output if isinstance(output, tuple) else (output,)) if t is not None)

    for layer in network.modules():
        if not list(layer.children()):
            layer.register_forward_hook(count)
    with torch.no_grad():
        network(*(each.to("meta") for each in inputs))
    return FLOAT * total


def _in_flight(hyper: TrainConfig, pairs: Pairs) -> int:
    """Bytes per row of the batches in flight: those read ahead, their buffers, and the one in use."""
    pair = FLOAT * (math.prod(pairs.grid.observation_shape) + math.prod(pairs.grid.density_shape))
    return (2 * hyper.read_ahead_batches + 2) * pair


def _read(hyper: TrainConfig) -> dict[Path, int]:
    folders = [Path(folder) for folder in (*hyper.data, *([hyper.litter] if hyper.litter else []))]
    return {folder: size_of([*folder.glob("*.tar"), *folder.glob("*.npy")]) for folder in folders}
