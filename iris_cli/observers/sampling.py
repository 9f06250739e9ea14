"""How finely a ray's spectrum must be sampled, and how many rays fit into the memory together."""

from __future__ import annotations

import torch
from torch import Tensor

from iris_cli.errors import IrisError
from iris_cli.observers.backends.backend import Accuracy
from iris_cli.observers.emission import Cells
from iris_cli.observers.line_profile import MOST_SAMPLES


def samples_per_ray(these: Cells, edges_km_s: Tensor, accuracy: Accuracy) -> Tensor:
    """(ray,) samples per channel: as the narrowest line of weight asks for; more where lines are opaque.

    Midpoints closer than the width b catch a Gaussian's flux to 1e-4. A saturated line's flanks are steeper than the
    Gaussian, by the root of the logarithm of its depth.
    """
    if accuracy.subsamples:
        return torch.full((these.v_km_s.shape[1],), accuracy.subsamples, device=edges_km_s.device)
    line, depth, width = these.line_K_km_s.detach(), these.depth_km_s.detach().abs(), these.width_km_s.detach()
    opaque = (depth / torch.maximum(width, these.spread_km_s.detach())).sum(dim=0) / torch.pi**0.5
    least = 1e-3 / len(line)
    matters = (line > least * line.sum(dim=0)) | (depth > least * depth.sum(dim=0))
    narrowest = torch.where(matters, width, torch.inf).amin(dim=0)
    steep = (1.2 / torch.log(opaque.clamp(min=1.0)).sqrt()).clamp(max=1.0)
    needed = edges_km_s.diff().mean() / (accuracy.step_per_width * narrowest * steep)
    return needed.ceil().clamp(2, MOST_SAMPLES // (len(edges_km_s) - 1)).long()


def rays_per_bundle(field: Tensor, numbers_per_ray: int, memory_GiB: float) -> int:
    """As many rays as fit into the memory; IrisError, with the number, when not even one does. `field` is (R, ray)."""
    per_ray = numbers_per_ray * field.dtype.itemsize
    fit = int(memory_GiB * 2**30 // per_ray)
    if fit < 1:
        raise IrisError(
            f"one ray of {field.shape[0]} cells needs {per_ray / 2**30:.3g} GiB, but {memory_GiB:.3g} GiB are allowed",
            "raise the memory, or take fewer channels or subsamples",
        )
    return min(fit, field.shape[1])
