"""Training and testing of a reverter: pairs in, a run folder with checkpoints and a report out.

    from iris_cli.training import PreObservedDataset, Reverter, train_reverter

    dataset = PreObservedDataset("shards")
    reverter, rank = train_reverter(Reverter(image_size=64, quantity=dataset.quantity), dataset)

Start reading in `train.py` (from folders to a trained network), then `loop.py` (epochs, validation, checkpoints) and
`step.py` (one optimizer step). `test.py` tests a run.
"""

from iris_cli.config.train import Noise, TrainConfig
from iris_cli.evaluation.loss import PhysicalLoss, ScaledDensityLoss
from iris_cli.evaluation.report import Report
from iris_cli.pairs.datasets import InfiniteDataset, PreObservedDataset
from iris_cli.reverter.reverter import Reverter
from iris_cli.signals import Stopped
from iris_cli.standard.dataset import StandardDataset
from iris_cli.training.test import test_reverter
from iris_cli.training.train import train_reverter

__all__ = [
    "InfiniteDataset",
    "Noise",
    "PhysicalLoss",
    "PreObservedDataset",
    "Report",
    "Reverter",
    "ScaledDensityLoss",
    "StandardDataset",
    "Stopped",
    "TrainConfig",
    "test_reverter",
    "train_reverter",
]
