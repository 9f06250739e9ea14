"""One setting of a configuration: its default, help, unit, limits and command-line flag, written once.

A field is declared as `epochs: int = setting(32, "Passes over the training set.", "--epochs", least=1)`. Three places
read this declaration: the command line (`iris_cli.commands.options`), the commented TOML and docs/configuration.md
(`iris_cli.config.describe`), and `Checked`, the base of all configurations.
"""

import math
import numbers
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from functools import partial
from typing import Any, cast

from iris_cli.errors import UsageError, nearest

#: Two numbers, [low, high]: the limits of a uniform draw.
Range = tuple[float, float]

#: The unit that the end of a name means; the longest matching end counts.
UNITS = {
    "_pc": "pc",
    "_deg": "deg",
    "_rad": "rad",
    "_arcsec": "arcsec",
    "_cm": "cm",
    "_g": "g",
    "_s": "s",
    "_cm_s": "cm/s",
    "_km_s": "km/s",
    "_km_s_pc": "km/s per pc",
    "_km_s_deg": "km/s per deg",
    "_K": "K",
    "_cm3": "per cm^3",
    "_kg_m3": "kg/m^3",
    "_m2_kg": "m^2/kg",
    "_GiB": "GiB",
    "_GHz": "GHz",
    "_minutes": "min",
    "_epochs": "epochs",
    "_steps": "steps",
    "_per_K": "per K",
    "_per_CO": "per CO",
    "_Msun": "Msun",
    "_Msun_yr": "Msun per yr",
}


def unit_of(name: str) -> str:
    endings = [ending for ending in UNITS if name.endswith(ending)]
    return UNITS[max(endings, key=len)] if endings else ""


@dataclass(frozen=True)
class Setting:
    """What is known of a field beside its type and its default."""

    help: str = ""
    #: Names of its command-line option; none: it can be set in a file only.
    flags: tuple[str, ...] = ()
    #: Group of options under which `--help` lists it.
    panel: str = ""
    #: What applies when it is left out (None, or 0 for some), for the reader.
    unset: str = ""
    #: Allowed values; of a tuple, of its elements.
    choices: tuple[str, ...] = ()
    #: Names that come with IRIS; others are checked where they are used.
    known: tuple[str, ...] = ()
    #: Limits of a number, or of each number of a tuple.
    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    #: Hint for a number outside its limits.
    hint: str = ""
    #: A pair of numbers [low, high].
    interval: bool = False
    metavar: str = ""
    #: Makes the value of the flag's text; raises ValueError with a reason.
    read: Callable[[str], Any] | None = None
    #: Of a table: the keys in it that have flags on this command line; None: all that declare one.
    inner_flags: tuple[str, ...] | None = None

    def check(self, name: str, value: Any, where: str) -> None:
        """UsageError when the value is not allowed."""
        if self.interval and not (len(value) == 2 and -math.inf < value[0] <= value[1] < math.inf):
            raise UsageError(f"{where}{name} = {list(value)} is not a range [low, high]")
        for item in value if isinstance(value, tuple) else (value,):
            if self.choices and item not in self.choices:
                raise UsageError(f"{where}unknown {name} '{item}'", nearest(str(item), filter(None, self.choices)))
            if isinstance(item, numbers.Real) and not isinstance(item, bool) and not self._fits(item):
                shown = list(value) if isinstance(value, tuple) else value
                raise UsageError(f"{where}{name} = {shown}; it must be {self._limits()}", self.hint)

    def _fits(self, number: Any) -> bool:
        return (
            -math.inf < number < math.inf
            and (self.least is None or number >= self.least)
            and (self.above is None or number > self.above)
            and (self.most is None or number <= self.most)
            and (self.below is None or number < self.below)
        )

    def _limits(self) -> str:
        low, high = self.least if self.above is None else self.above, self.most if self.below is None else self.below
        if low is not None and high is not None:
            return f"in {'[' if self.above is None else '('}{low:g}, {high:g}{']' if self.below is None else ')'}"
        if low is not None:
            return f"{low:g} or more" if self.above is None else f"above {low:g}"
        if high is not None:
            return f"{high:g} or less" if self.below is None else f"below {high:g}"
        return "finite"


def setting(default: Any, help: str = "", *flags: str, **about: Any) -> Any:
    """A field of a configuration; `about` are the other fields of `Setting`."""
    return field(default=default, metadata={"setting": Setting(help, flags, **about)})


def panel(name: str, declare: Callable[..., Any] = setting) -> Callable[..., Any]:
    """`setting` or `interval` for fields whose options `--help` lists under this heading."""
    return partial(declare, panel=name)


def table(make: Callable[[], Any], help: str = "", flags: tuple[str, ...] | None = None) -> Any:
    """A field that is a configuration itself, `[name]` in a file; `flags` limits which of its keys have options."""
    return field(default_factory=make, metadata={"setting": Setting(help, inner_flags=flags)})


def interval(low: float, high: float, help: str = "", *flags: str, **about: Any) -> Any:
    """A field [low, high], or LOW:HIGH as a flag."""
    return setting((low, high), help, *flags, interval=True, metavar="LOW:HIGH", read=read_interval, **about)


def setting_of(each: Any) -> Setting:
    """That of a dataclass's field; an empty one where it declares none."""
    return each.metadata.get("setting", Setting())


def default_of(each: Any) -> Any:
    """A field's default; None where it has none."""
    if each.default_factory is not MISSING:
        return each.default_factory()
    return None if each.default is MISSING else each.default


class Checked:
    """A configuration. UsageError, which begins with `where`, for the first value that its setting does not allow."""

    _where = ""

    def __init_subclass__(cls, where: str = "") -> None:
        cls._where = where

    def __post_init__(self) -> None:
        for each in fields(cast(Any, self)):
            value = getattr(self, each.name)
            if value is not None:
                setting_of(each).check(each.name, value, self._where)


def read_interval(text: str) -> list[float]:
    """`0.25:1` as [0.25, 1], `0.5` as [0.5, 0.5]. ValueError for anything else."""
    low, _, high = text.partition(":")
    try:
        return [float(low), float(high or low)]
    except ValueError:
        raise ValueError("neither a number nor LOW:HIGH") from None


def read_words(text: str) -> list[str]:
    """`a, b` as ["a", "b"]; an empty word keeps its place."""
    return [word.strip() for word in text.split(",")]
