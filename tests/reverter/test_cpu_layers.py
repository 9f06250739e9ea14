"""Layers for the CPU: the values and gradients of PyTorch's own layers."""

import pytest
import torch
from torch import nn

from iris_cli.reverter.cpu_layers import MATRIX_LAYERS, FewChannelNorm, MatrixConv2d, MatrixConvTranspose2d
from iris_cli.reverter.paper import stages_for
from iris_cli.reverter.reverter import Reverter

CASES = [
    (MatrixConv2d, nn.Conv2d, 8, (6, 10, 4, 2, 1), 1),
    (MatrixConv2d, nn.Conv2d, 4, (6, 10, 2, 2, 0), 1),
    (MatrixConvTranspose2d, nn.ConvTranspose2d, 4, (10, 6, 4, 2, 1), 1),
    (MatrixConvTranspose2d, nn.ConvTranspose2d, 2, (10, 6, 2, 2, 0), 1),
    (MatrixConvTranspose2d, nn.ConvTranspose2d, 1, (12, 8, 2, 1, 0), 4),
]


@pytest.mark.parametrize(("matrix", "plain", "pixels", "shape", "groups"), CASES)
def test_matrix_layers_have_the_values_and_gradients_of_convolutions(matrix, plain, pixels, shape, groups):
    layers = matrix(*shape, groups=groups), plain(*shape, groups=groups)
    layers[0].load_state_dict(layers[1].state_dict())
    image = torch.rand(3, shape[0], pixels, pixels)
    images = [image.clone().requires_grad_(), image.clone().requires_grad_()]
    values = [layer(x) for layer, x in zip(layers, images, strict=True)]
    torch.testing.assert_close(*values, rtol=1e-5, atol=1e-6)
    weight = torch.rand_like(values[0])
    for value in values:
        (value * weight).sum().backward()
    torch.testing.assert_close(images[0].grad, images[1].grad, rtol=1e-5, atol=1e-5)
    for a, b in zip(*(layer.parameters() for layer in layers), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-5)


def test_only_stages_of_few_pixels_use_matrix_layers():
    layers = [layer for layer in Reverter(512, network="paper").modules() if isinstance(layer, MATRIX_LAYERS)]
    assert [(type(m).__name__, m.in_channels, m.out_channels) for m in layers] == [
        ("MatrixConv2d", 256, 512),
        ("MatrixConv2d", 512, 1024),
        ("MatrixConvTranspose2d", 2048, 1024),
        ("MatrixConvTranspose2d", 1024, 512),
        ("MatrixConvTranspose2d", 512, 256),
    ]


def test_channels_last_changes_predictions_by_rounding_alone():
    image = torch.rand(2, 1, 64, 64)
    plain, fast = Reverter(64, seed=3, network="paper"), Reverter(64, seed=3, network="paper").on(torch.device("cpu"))
    weights = [p for p in fast.parameters() if p.dim() == 4 and not p.is_contiguous()]
    assert any(p.is_contiguous(memory_format=torch.channels_last) for p in weights)
    expected = plain(image)
    torch.testing.assert_close(fast(image), expected, rtol=0.0, atol=1e-4 * float(expected.detach().max()))
    assert len(stages_for(64)) == 6


def test_few_channel_norm_is_batch_norm():
    few, plain = FewChannelNorm(4), nn.BatchNorm2d(4)
    image = torch.rand(3, 4, 8, 8).to(memory_format=torch.channels_last)
    torch.testing.assert_close(few(image), plain(image))
    torch.testing.assert_close(few.running_var, plain.running_var)
    assert sum(isinstance(layer, FewChannelNorm) for layer in Reverter(512, network="paper").modules()) == 2
