"""Scores and TARP of evaluation/ beside those of scoringrules and tarp: docs/benchmarks/scores.md.

pip install scoringrules tarp    # neither is a dependency
python tests/benchmarks/scores.py
"""

import time

import numpy as np
import scoringrules
import torch
from tarp import get_tarp_coverage

from iris_cli.evaluation import calibration, scores

PAIRS, SAMPLES, SIZE = 300, 64, 16


def main() -> None:
    rng = np.random.default_rng(0)
    centre = rng.standard_normal((PAIRS, SIZE, SIZE))
    true = centre + rng.standard_normal(centre.shape)
    members = centre + rng.standard_normal((SAMPLES, *centre.shape))
    x, y = torch.from_numpy(members)[:, :, None], torch.from_numpy(true)[:, None]

    start = time.process_time()
    own = scores.crps(x, y).numpy()
    middle = time.process_time()
    theirs = scoringrules.crps_ensemble(true, members, m_axis=0, estimator="fair").mean(axis=(1, 2))
    show("CRPS", own, theirs)
    print(f"  CPU {middle - start:.2f} s, theirs {time.process_time() - middle:.2f} s")
    flat = members.reshape(SAMPLES, PAIRS, -1)
    theirs = scoringrules.es_ensemble(true.reshape(PAIRS, -1), flat, m_axis=0, v_axis=-1, estimator="fair") / SIZE
    show("energy score", scores.energy_score(x, y).numpy(), theirs)
    nominal = np.arange(1, SAMPLES + 2) / (SAMPLES + 1)
    centre, members, y = centre[:, :3, :3], members[..., :3, :3], y[..., :3, :3]  # few, so that all ranks occur
    references = rng.standard_normal(centre.shape) * 2**0.5
    for width in (1.0, 0.7):
        narrow = centre + width * (members - centre)
        of = torch.from_numpy(narrow)[:, :, None], y, torch.from_numpy(references)[None, :, None]
        own = np.cumsum(calibration.tarp_ranks(*of).mean(dim=0).numpy()) - nominal
        flat = (part.reshape(*part.shape[:-2], -1) for part in (narrow, y[:, 0].numpy(), references))
        curve, at = get_tarp_coverage(*flat, norm=False, num_alpha_bins=SAMPLES + 1)  # as many bins as ranks
        show(f"TARP minus diagonal, samples {width:g} times as wide as the posterior", own, (curve - at)[1:])


def show(name: str, own: np.ndarray, theirs: np.ndarray) -> None:
    """Means and largest absolute values."""
    means, largest = ([f"{of(values):.6f}" for values in (own, theirs)] for of in (np.mean, lambda v: np.abs(v).max()))
    apart = np.abs(own - theirs).max()
    print(f"{name}: mean {' and '.join(means)}, largest {' and '.join(largest)}, at most {apart:.1e} apart")


if __name__ == "__main__":
    main()
