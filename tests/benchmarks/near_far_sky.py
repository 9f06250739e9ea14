"""Near or far on the real sky: `python -m tests.benchmarks.near_far_sky RUN… --cube HNCO.fits --orbits FOLDER`.

In: runs with distance networks, a cube of the Galactic Centre in their line, and orbit models (.txt, as for `iris plot
--orbits`). The packaged catalogue gives the sides of clouds by dust, absorption, star counts and X-ray echoes; its
components that are decisive (|los| > 15 pc and above one sigma) are the test. Out: a table of scores of P(near) with
95 % intervals of a bootstrap over clouds. Results: docs/benchmarks/near_far.md.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from scipy.stats import rankdata

from iris_cli.plots.orbits import ON_SKY, tracks
from iris_cli.telescope.clouds import CMZ
from iris_cli.telescope.revert import revert

LEAST_PC = 15.0
#: An orbit's side of a cloud is that of its nearest point; these distances count alike.
DEG, KM_S = 0.1, 10.0
#: No probability is taken as more certain than this in the log score.
SURE = 0.02
RESAMPLES = 4000

Floats = NDArray[np.float64]


def auc(p: Floats, near: Floats) -> float:
    """The share of pairs of a near and a far cloud in which the near one has the higher P(near)."""
    n = near.sum()
    return float((rankdata(p)[near > 0].sum() - n * (n + 1) / 2) / max(n * (len(near) - n), 1))


def brier(p: Floats, near: Floats) -> float:
    return float(np.mean((p - near) ** 2))


def log_score(p: Floats, near: Floats) -> float:
    p = np.clip(p, SURE, 1.0 - SURE)
    return float(-np.mean(near * np.log(p) + (1.0 - near) * np.log(1.0 - p)))


SCORES: dict[str, Callable[[Floats, Floats], float]] = {"AUC": auc, "Brier": brier, "log score": log_score}


def main(
    runs: list[Path],
    cube: Annotated[Path, typer.Option()],
    orbits: Annotated[Path | None, typer.Option(help="folder of orbit models")] = None,
    figure: Path | None = None,
) -> None:
    made = revert(runs, [cube], clouds=CMZ, near_far_figure=figure, overwrite=True)
    assert made.clouds is not None and made.near_far is not None
    print(made.near_far.sentence(made.observed.image))
    for sentence in made.record.quality.sentences():
        print(sentence)
    los, sigma, covered = (np.array(made.clouds[name]) for name in ("literature_los", "literature_sigma", "p_near"))
    chosen = made.clouds[(np.abs(los) > LEAST_PC) & (np.abs(los) > sigma) & np.isfinite(covered)]
    near = (np.array(chosen["literature_los"]) < 0).astype(float)
    answers = {f"{len(runs)} networks": np.array(chosen["p_near"]), "prior": np.array(chosen["prior"])}
    for run in runs if len(runs) > 1 else ():
        alone = revert([run], [cube], clouds=CMZ).clouds
        answers[f"network of {run.name}"] = np.array([row["p_near"] for row in alone if row["name"] in chosen["name"]])
    answers["constant"] = np.full(len(near), near.mean())
    places = np.stack([chosen["l"] / DEG, chosen["v"] / KM_S], axis=1)
    for orbit in tracks(["walker", "lipman"], ON_SKY) + (tracks([str(orbits)]) if orbits else []):
        points = np.stack([orbit.lon_deg / DEG, orbit.v_km_s / KM_S], axis=1)
        nearest = np.linalg.norm(places[:, None] - points[None], axis=2).argmin(axis=1)
        answers[f"orbit: {orbit.name}"] = orbit.near[nearest].astype(float)
    clouds = np.array([re.match(r"\d*", name)[0] for name in chosen["name"]])
    print(f"{len(near)} components of {len(set(clouds))} clouds, {int(near.sum())} near\n")
    print(f"| | {' | '.join(SCORES)} |\n|---|{'---|' * len(SCORES)}")
    for name, p in answers.items():
        print(f"| {name} | {' | '.join(_interval(score, p, near, clouds) for score in SCORES.values())} |")
    each = [
        np.array([log_score(p, n) for p, n in zip(answers[name][:, None], near[:, None], strict=True)])
        for name in ("prior", f"{len(runs)} networks")
    ]
    gain = _interval(lambda g, _: float(g.mean()), each[0] - each[1], near, clouds)
    print(f"\ngain of the networks over the prior in log score: {gain}\n")
    for row, side in zip(chosen, near, strict=True):
        literature = "near" if side else "far"
        print(
            f"{row['name']:<32} {literature:<5} P(near) {row['p_near']:.2f} prior {row['prior']:.2f} v {row['v']:.0f}"
        )


def _interval(score: Callable[[Floats, Floats], float], p: Floats, near: Floats, clouds: NDArray) -> str:
    """The score and its 95 % interval over clouds drawn with replacement."""
    members = [np.flatnonzero(clouds == cloud) for cloud in np.unique(clouds)]
    dice, found = np.random.default_rng(0), []
    while len(found) < RESAMPLES:
        drawn = np.concatenate([members[k] for k in dice.integers(0, len(members), len(members))])
        if 0 < near[drawn].sum() < len(drawn):
            found.append(score(p[drawn], near[drawn]))
    low, high = np.quantile(found, (0.025, 0.975))
    return f"{score(p, near):.3f} ({low:.3f} … {high:.3f})"


if __name__ == "__main__":
    main.__doc__ = __doc__
    typer.run(main)
