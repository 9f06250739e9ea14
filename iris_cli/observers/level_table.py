"""Tables of level populations: one line's populations, solved on a grid and interpolated per cell; cached on disk.

The table holds ln n_u and beta = ln(n_l g_u / (n_u g_l)) = h nu / (k T_ex), per molecule of the tracer. Both are
smooth, and beta passes through zero where the levels invert. Absorption is proportional to e^beta - 1, which a table of
n_u and n_l would give only as the small difference of two interpolated numbers. The equations are solved on a coarse
grid (log density, mixture, log column, log temperature), interpolated by cubic splines to a fine grid on which linear
interpolation is accurate, and compared with direct solutions at random points. Both grids are refined until the largest
error is below the tolerance.
"""

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iris_cli.cache import private_folder
from iris_cli.console import warn
from iris_cli.errors import DataError
from iris_cli.files import atomic_file
from iris_cli.observers.molecule import Line, Molecule
from iris_cli.observers.populations import Populations, State

#: Incremented when the numbers in a table change.
TABLE_VERSION = 5
WORST_ERROR = 1.5e-3
_PROBES = 400
_ROUNDS = 4
#: A table with a larger error than this causes a warning.
_WARN_ABOVE = 1e-2


@dataclass(frozen=True)
class Range:
    """An axis: first value, (last value, steps per unit) of each coarse piece, and steps per unit of the fine grid."""

    first: float
    coarse: tuple[tuple[float, float], ...]
    fine: float

    def nodes(self, refinement: float) -> NDArray[np.float64]:
        """Nodes of the coarse grid."""
        pieces, start = [], self.first
        for end, per_unit in self.coarse:
            pieces.append(np.linspace(start, end, round((end - start) * per_unit * refinement), endpoint=False))
            start = end
        return np.append(np.concatenate(pieces), start)

    def axis(self, refinement: float) -> "TableAxis":
        """Axis of the fine grid."""
        length = self.coarse[-1][0] - self.first
        count = round(length * self.fine * refinement)
        return TableAxis(self.first, length / count, count + 1)


#: Of log10 density (colliders per cm^3), x_H2, log10 column (cm^-2/(km/s)), ln T.
_DENSITY = Range(-4.0, ((9.0, 3.0),), 20.0)
_MIXTURE = Range(0.0, ((0.5, 20.0),), 40.0)
_LOG_T = Range(float(np.log(2.0)), ((float(np.log(5e4)), 6.4),), 34.0)
#: The same with a column. Nodes are close where a line changes from inverted to trapped (density), and from thin to
#: thick (column), which is abrupt without a background. This is what 20 s can solve: there is no finer round.
_LVG_DENSITY = Range(-4.0, ((1.0, 3.0), (6.5, 7.2), (9.0, 3.0)), 16.0)
_COLUMN = Range(11.0, ((14.0, 2.0), (19.0, 5.0), (20.0, 3.0)), 20.0)
_LVG_LOG_T = Range(_LOG_T.first, ((7.0, 6.7), (_LOG_T.coarse[-1][0], 4.0)), 22.0)
#: A molecule of hundreds of levels would take hours. All of CO's 41 are needed: 25 were 13 % off at 900 K.
_LVG_LEVELS = 41


@dataclass(frozen=True)
class TableAxis:
    """Evenly spaced nodes; a quantity that the populations do not depend on has one node."""

    first: float
    step: float
    count: int

    @property
    def nodes(self) -> NDArray[np.float64]:
        return self.first + self.step * np.arange(self.count, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class LevelTable:
    """`log_upper`, `beta`: (density, mixture, column, temperature). `shares` (c0, c1): c0 + c1 x_H2 colliders per H."""

    line: Line
    shares: tuple[float, float]
    axes: tuple[TableAxis, ...]
    log_upper: NDArray[np.float32]
    beta: NDArray[np.float32]
    worst_error: float

    def lookup(
        self, n_H_cm3: Tensor, x_H2: Tensor, T_K: Tensor, column_cm2_km_s: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(ln n_u, beta) of any shape: multilinear, constant beyond the ends, differentiable in all four arguments."""
        colliders = n_H_cm3 * (self.shares[0] + self.shares[1] * x_H2)
        column = torch.ones_like(T_K) if column_cm2_km_s is None else column_cm2_km_s
        tiny = 1e-30
        places = (colliders.clamp(min=tiny).log10(), x_H2, column.clamp(min=tiny).log10(), T_K.log())
        tables = [torch.as_tensor(t).to(T_K).reshape(-1) for t in (self.log_upper, self.beta)]
        upper, beta = _multilinear(tables, list(zip(self.axes, places, strict=True)))
        return upper, beta


def _multilinear(tables: list[Tensor], places: list[tuple[TableAxis, Tensor]]) -> list[Tensor]:
    index, weight = [torch.zeros_like(places[-1][1], dtype=torch.long)], [torch.ones_like(places[-1][1])]
    for axis, place in places:
        index = [i * axis.count for i in index]
        if axis.count == 1:
            continue
        at = ((place - axis.first) / axis.step).clamp(0.0, axis.count - 1.0)
        low = at.detach().floor().clamp(max=axis.count - 2).long()
        share = at - low
        index = [i + low for i in index] + [i + low + 1 for i in index]
        weight = [w * (1.0 - share) for w in weight] + [w * share for w in weight]
    return [torch.stack([w * table[i] for i, w in zip(index, weight, strict=True)]).sum(dim=0) for table in tables]


def level_table(molecule: Molecule, line: Line, populations: Populations) -> LevelTable:
    """The table of a line, from the cache, or computed (seconds) and cached. The key covers all that it depends on."""
    folder = private_folder("levels")
    key = _key(molecule, line, populations)
    path = folder / f"{key}.npz" if folder else None
    if path is not None and path.is_file() and (table := _read(path, line)):
        return table
    table = build(molecule, line, populations)
    if table.worst_error > _WARN_ABOVE:
        differs = f"differs by up to {100 * table.worst_error:.2g} % from direct solutions"
        name = f"level table of {molecule.name} {line.name}, {populations.name}"
        warn(f"{name}: {differs} (n_H 1 … 1e7 /cm^3, T 5 … 1000 K)")
    if path is not None:
        _write(path, table)
    return table


def build(molecule: Molecule, line: Line, populations: Populations) -> LevelTable:
    """Refines the grids until n_u and n_l at random points are within WORST_ERROR of direct solutions."""
    table = _round(molecule, line, populations, 1.0)
    for refinement in range(1, 1 if populations.depends_on_column else _ROUNDS):
        if table.worst_error <= WORST_ERROR:
            break
        table = _round(molecule, line, populations, 1.5**refinement)
    return table


def lowest_levels(molecule: Molecule, count: int) -> Molecule:
    """The same molecule with only its lowest `count` levels and the transitions among them."""
    lines = (molecule.line_upper < count) & (molecule.line_lower < count)
    partners = []
    for p in molecule.partners:
        kept = (p.upper < count) & (p.lower < count)
        partners.append(replace(p, upper=p.upper[kept], lower=p.lower[kept], rates_cm3_s=p.rates_cm3_s[kept]))
    return replace(
        molecule,
        energies_K=molecule.energies_K[:count],
        weights=molecule.weights[:count],
        labels=molecule.labels[:count],
        line_upper=molecule.line_upper[lines],
        line_lower=molecule.line_lower[lines],
        einstein_a_s=molecule.einstein_a_s[lines],
        frequency_Hz=molecule.frequency_Hz[lines],
        partners=tuple(partners),
    )


def _round(molecule: Molecule, line: Line, populations: Populations, refinement: float) -> LevelTable:
    shares = populations.collider_shares(molecule)
    total = sum(c0 for c0, _ in shares.values()), sum(c1 for _, c1 in shares.values())
    needed = (
        populations.depends_on_density,
        len({name[-2:] for name in shares}) > 1,  # the mixture of o-H2 and p-H2 is constant
        populations.depends_on_column,
        True,
    )
    trapped = populations.depends_on_column
    ranges = _ranges(trapped)
    solvable = lowest_levels(molecule, max(_LVG_LEVELS, line.upper + 10)) if trapped else molecule
    coarse = [r.nodes(refinement) if used else np.array([r.first]) for r, used in zip(ranges, needed, strict=True)]
    fine = [r.axis(refinement) if used else TableAxis(r.first, 0.0, 1) for r, used in zip(ranges, needed, strict=True)]
    solved = _solve_grid(solvable, line, populations, total, coarse)
    log_upper, beta = (_interpolate(values, coarse, fine).astype(np.float32) for values in solved)
    table = LevelTable(line, total, tuple(fine), log_upper, beta, np.inf)
    return replace(table, worst_error=float(errors(molecule, populations, table, probes(_PROBES, seed=1)).max()))


def _ranges(trapped: bool) -> tuple[Range, ...]:
    return (_LVG_DENSITY, _MIXTURE, _COLUMN, _LVG_LOG_T) if trapped else (_DENSITY, _MIXTURE, _COLUMN, _LOG_T)


def _solve_grid(
    molecule: Molecule, line: Line, populations: Populations, total: tuple[float, float], nodes: list[NDArray]
) -> tuple[NDArray, NDArray]:
    density, mixture, column, log_T = (g.reshape(-1) for g in np.meshgrid(*nodes, indexing="ij"))
    per_H = total[0] + total[1] * mixture
    # With one kind of collider the mixture has a single node, at x_H2 = 1/2.
    single = len(nodes[1]) == 1
    x_H2 = np.full_like(mixture, 0.5) if single else mixture
    n_H = 10.0**density / np.where(single, total[0] + 0.5 * total[1] or 1.0, per_H)
    state = State(n_H, x_H2, np.exp(log_T), 10.0**column)
    shape = tuple(map(len, nodes))
    log_upper, beta = line_pair(molecule, line, populations, state)
    return log_upper.reshape(shape), beta.reshape(shape)


def line_pair(molecule: Molecule, line: Line, populations: Populations, state: State) -> tuple[NDArray, NDArray]:
    """(point,) ln n_u and beta, by direct solution."""
    fractions = np.maximum(populations.fractions(molecule, state), 1e-280)
    log_upper, log_lower = np.log(fractions[:, line.upper]), np.log(fractions[:, line.lower])
    return log_upper, log_lower - log_upper + np.log(line.upper_weight / line.lower_weight)


def _interpolate(values: NDArray, coarse: list[NDArray], fine: list[TableAxis]) -> NDArray:
    from scipy.interpolate import CubicSpline  # takes a while, and most tables are cached

    for k, (few, many) in enumerate(zip(coarse, fine, strict=True)):
        if len(few) > 1:
            values = CubicSpline(few, values, axis=k)(many.nodes)
    return values


def probes(count: int, seed: int) -> State:
    """Random points of the interstellar medium: n_H 1 … 1e7 /cm^3, x_H2 0 … 0.5, T 5 … 1000 K, any column."""
    rng = np.random.default_rng(seed)
    return State(
        n_H_cm3=10.0 ** rng.uniform(0.0, 7.0, count),
        x_H2=rng.uniform(0.0, 0.5, count),
        T_K=np.exp(rng.uniform(np.log(5.0), np.log(1000.0), count)),
        column_cm2_km_s=10.0 ** rng.uniform(12.0, 19.0, count),
    )


def errors(molecule: Molecule, populations: Populations, table: LevelTable, state: State) -> NDArray[np.float64]:
    """(2, point) relative errors of n_u and n_l in the table against direct solutions."""
    true_upper, true_beta = line_pair(molecule, table.line, populations, state)
    inputs = (state.n_H_cm3, state.x_H2, state.T_K, state.column_cm2_km_s)
    upper, beta = (t.numpy() for t in table.lookup(*(torch.as_tensor(a) for a in inputs)))
    return np.abs(np.expm1([upper - true_upper, upper + beta - true_upper - true_beta]))


def _key(molecule: Molecule, line: Line, populations: Populations) -> str:
    parts = [TABLE_VERSION, molecule.fingerprint(), line.name, populations.balance(), WORST_ERROR]
    parts += [*map(asdict, _ranges(populations.depends_on_column)), _LVG_LEVELS]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _write(path: Path, table: LevelTable) -> None:
    """Writes the table; a full disk is ignored, and the next run computes the table again."""
    axes = [[a.first, a.step, a.count] for a in table.axes]
    meta = {"shares": table.shares, "axes": axes, "worst_error": table.worst_error}
    with suppress(OSError, DataError), atomic_file(path) as file:
        np.savez(file, log_upper=table.log_upper, beta=table.beta, meta=np.array(json.dumps(meta)))


def _read(path: Path, line: Line) -> LevelTable | None:
    """The table, or None when the file is damaged: it is then computed again."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            meta = json.loads(str(stored["meta"]))
            axes = tuple(TableAxis(float(a), float(b), int(n)) for a, b, n in meta["axes"])
            log_upper, beta = stored["log_upper"], stored["beta"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
    return LevelTable(line, (meta["shares"][0], meta["shares"][1]), axes, log_upper, beta, float(meta["worst_error"]))
