"""How finely a ray's spectrum is sampled, and how many rays fit into the memory together."""

from dataclasses import dataclass

import torch
from torch import Tensor

from iris_cli.errors import IrisError
from iris_cli.observers.emission import Cells
from iris_cli.observers.line_profile import MOST_SAMPLES

#: Channels of at most this many times the step that the narrowest line needs have one sample.
FINE_CHANNELS = 0.4


@dataclass(frozen=True)
class Accuracy:
    """Sampling and resources of a backend.

    `subsamples` per channel (0: as many as the lines need); `step_per_width`: the spacing of samples in units of the
    narrowest width b; `threads` (0: as many as torch uses); `device` of the torch backend: "auto", "cpu", "cuda", or
    "" for the device of the matter.
    """

    subsamples: int = 0
    step_per_width: float = 0.7
    memory_GiB: float = 4.0
    threads: int = 0
    device: str = ""


def samples_per_ray(these: Cells, edges_km_s: Tensor, accuracy: Accuracy) -> Tensor:
    """(ray,) samples per channel: as many as the narrowest significant line needs, more where lines are opaque.

    Midpoints closer than the width b reproduce a Gaussian's flux to 1e-4. The flanks of a saturated line are steeper
    than those of the Gaussian, by the square root of the logarithm of its depth. A channel has two samples at least,
    or one where that is fine enough for the edge corrections as well (1e-4 of the peak).
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
    fewest = torch.where(needed <= FINE_CHANNELS, 1.0, 2.0)
    return torch.maximum(needed.ceil(), fewest).clamp(max=MOST_SAMPLES // (len(edges_km_s) - 1)).long()


def rays_per_bundle(field: Tensor, numbers_per_ray: int, memory_GiB: float) -> int:
    """The number of rays that fit into the memory. `field` is (R, ray). Raises IrisError when a single ray does not."""
    per_ray = numbers_per_ray * field.dtype.itemsize
    fit = int(memory_GiB * 2**30 // per_ray)
    if fit < 1:
        need = f"{per_ray / 2**30:.3g} GiB, but {memory_GiB:.3g} GiB are allowed"
        hint = "raise the memory, or use fewer channels or subsamples"
        raise IrisError(f"one ray of {field.shape[0]} cells needs {need}", hint)
    return min(fit, field.shape[1])
