"""Run by `torchrun ten_lines.py SHARDS OUT`: train and test twice, with a wrapped network and a callable optimizer."""

import sys

import torch
from torch.nn.parallel import DistributedDataParallel

from iris_cli.training import PhysicalLoss, PreObservedDataset, Reverter, TrainConfig, test_reverter, train_reverter


class Squares(PhysicalLoss):
    def forward(self, pred, true):
        return self.normed_residual(pred, true).square().mean()


def halving_adam(parameters):
    adam = torch.optim.Adam(parameters, lr=1e-3)
    return adam, torch.optim.lr_scheduler.MultiStepLR(adam, [1], gamma=0.5)


if __name__ == "__main__":
    torch.distributed.init_process_group("gloo")
    data = PreObservedDataset(sys.argv[1])
    hyper = TrainConfig(epochs=2, batch_size=2, batches_per_update=2, optimizer=halving_adam, physical_loss=Squares)
    model = DistributedDataParallel(Reverter(image_size=32, quantity=data.quantity))
    if "without" in sys.argv:  # a group of the caller
        torch.distributed.destroy_process_group()
    for time in ("first", "second"):
        train_reverter(model, data, hyper=hyper, checkpoint_directory=sys.argv[2], checkpoint_name=time)
        loss = test_reverter(model, PreObservedDataset(sys.argv[1], "test"), hyper=hyper).loss
        sys.stdout.write(f"{time} {loss}\n")  # whole lines: both ranks write to one pipe
        sys.stdout.flush()
