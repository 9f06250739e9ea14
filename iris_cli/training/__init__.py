"""Train and test a reverter: pairs in, a checkpoint and a report out.

```python
from iris_cli.training import PreObservedDataset, Reverter, train_reverter

dataset = PreObservedDataset("shards")
reverter, rank = train_reverter(Reverter(image_size=64, quantity=dataset.quantity), dataset)
```
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
