"""Optimizers and learning-rate schedules by name, or made by a function of the caller.

A schedule by name is a function of the epochs done, without a state. A scheduler of the caller is stepped after each
epoch.
"""

import math
from collections.abc import Callable, Iterable
from functools import partial
from inspect import Parameter, signature
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from iris_cli.config.train import OptimizerConfig, TrainConfig
from iris_cli.console import warn
from iris_cli.errors import UsageError, choose

Parameters = Iterable[nn.Parameter]


def _adam(kind: Callable[..., Optimizer], parameters: Parameters, c: OptimizerConfig) -> Optimizer:
    settings: dict[str, Any] = {"betas": (c.momentum, 0.999), "weight_decay": c.weight_decay, "fused": True}
    return kind(parameters, lr=c.learning_rate, **settings)


def _sgd(parameters: Parameters, c: OptimizerConfig) -> Optimizer:
    decay, nesterov = c.weight_decay, c.momentum > 0
    made = SGD(parameters, c.learning_rate, c.momentum, weight_decay=decay, nesterov=nesterov, fused=True)
    if c.momentum > 0:  # torch would leave it undefined after a first step that is skipped
        for parameter in made.param_groups[0]["params"]:
            made.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return made


Maker = Callable[..., Optimizer]
OPTIMIZERS: dict[str, Maker] = {"adam": partial(_adam, Adam), "adamw": partial(_adam, AdamW), "sgd": _sgd}


def make_optimizer(parameters: Parameters, config: OptimizerConfig) -> Optimizer:
    """UsageError for an unknown name."""
    if "." in config.name:
        what = f"the optimizer '{config.name}' is a function of a Python program"
        raise UsageError(what, "train there: train_reverter(..., hyper=TrainConfig(optimizer=FUNCTION), resume='auto')")
    return choose("optimizer", config.name, OPTIMIZERS)(parameters, config)


def optimizer_and_scheduler(parameters: Parameters, hyper: TrainConfig) -> tuple[Optimizer, Any]:
    """The optimizer, and the scheduler that a function of the caller returns with it, or None.

    UsageError for an unknown name, and for a function that returns something else.
    """
    if isinstance(hyper.optimizer, OptimizerConfig):
        return make_optimizer(parameters, hyper.optimizer), None
    made = hyper.optimizer(parameters)
    if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], Optimizer)):
        what = f"the function of hyper.optimizer returned {type(made).__name__}"
        raise UsageError(what, "it must return a tuple (optimizer, scheduler); the scheduler may be None")
    optimizer, scheduler = made
    if scheduler is not None and not (hasattr(scheduler, "step") and hasattr(scheduler, "state_dict")):
        raise UsageError(f"the scheduler is a {type(scheduler).__name__}", "make one of torch.optim.lr_scheduler")
    if signature(optimizer.step).parameters["closure"].default is Parameter.empty:
        raise UsageError(f"{type(optimizer).__name__} evaluates the loss several times in a step", "use another one")
    return optimizer, scheduler


def step_scheduler(scheduler: Any, validation_loss: float | None) -> None:
    """After an epoch. ReduceLROnPlateau reads the validation loss; without validation it waits."""
    if not isinstance(scheduler, ReduceLROnPlateau):
        scheduler.step()
    elif validation_loss is not None:
        scheduler.step(validation_loss)


def resume_optimizer(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Load the state of a saved optimizer, but keep the present settings.

    The state of another kind of optimizer (`--force` allows it) is ignored with a warning.
    """
    own = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    if [set(group) - {"params"} for group in saved["param_groups"]] != [set(group) for group in own]:
        warn("the checkpoint is of another optimizer: this one starts without its state")
        return
    optimizer.load_state_dict(saved)
    for group, settings in zip(optimizer.param_groups, own, strict=True):
        group.update(settings)


def _halvings(done: float, hyper: TrainConfig) -> float:
    return 0.5 ** sum(done >= epoch for epoch in hyper.schedule.halve_after_epochs)


def _cosine(done: float, hyper: TrainConfig) -> float:
    start = hyper.schedule.warmup_epochs
    share = min(max((done - start) / max(hyper.epochs - start, 1e-9), 0.0), 1.0)
    return 0.5 * (1.0 + math.cos(math.pi * share))


#: Name -> factor on the learning rate after `done` epochs, which may be a fraction.
SCHEDULES: dict[str, Callable[..., float]] = {"halvings": _halvings, "cosine": _cosine, "constant": lambda *_: 1.0}


def learning_rate(done_epochs: float, hyper: TrainConfig) -> float:
    """Linear warm-up, then the schedule. `done_epochs` is that of the middle of a step. UsageError if unknown."""
    schedule = choose("schedule", hyper.schedule.name, SCHEDULES)
    warmup = hyper.schedule.warmup_epochs
    rise = min(done_epochs / warmup, 1.0) if warmup > 0 else 1.0
    if not isinstance(hyper.optimizer, OptimizerConfig):
        raise ValueError("the caller's function makes the optimizer, and its learning rate")
    return hyper.optimizer.learning_rate * rise * schedule(done_epochs, hyper)
