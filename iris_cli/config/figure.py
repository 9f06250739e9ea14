"""How figures look: letters, colours, the range that they stand for, and the orbits over an image."""

from __future__ import annotations

from dataclasses import dataclass

from iris_cli.errors import UsageError, nearest

STRETCHES = ("asinh", "log", "sqrt", "linear")
#: Even in lightness, readable with any colour vision.
COLOURS = ("cividis", "viridis", "magma", "inferno", "plasma", "gray", "gray_r")
STYLE_NAMES = ("screen", "talk", "mnras", "aanda", "apj")


@dataclass(frozen=True)
class FigureConfig:
    """The look of all figures of `iris plot`; each takes of it what it has: a spectrum has no colours."""

    #: Widths and letters: "screen", "talk", "mnras", "aanda" or "apj".
    style: str = "screen"
    #: Above the figure, "" for none. Left out: what it shows.
    title: str | None = None
    #: "asinh", "log", "sqrt" or "linear".
    stretch: str = "asinh"
    #: Where the colours begin, in the image's unit.
    low: float = 0.0
    #: Where they end. Left out: at the highest value.
    high: float | None = None
    #: "cividis", "viridis", "magma", "inferno", "plasma", "gray" or "gray_r".
    colours: str = "cividis"
    #: "walker", "lipman", files of published models, or folders of such.
    orbits: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        choices = {"style": STYLE_NAMES, "stretch": STRETCHES, "colours": COLOURS}
        for name, known in choices.items():
            if (chosen := getattr(self, name)) not in known:
                raise UsageError(f"unknown {name} '{chosen}'", nearest(chosen, known))
        if self.high is not None and not self.low < self.high:
            raise UsageError(
                f"the colours begin at {self.low:g} and end at {self.high:g}", "lowest must be below highest"
            )
