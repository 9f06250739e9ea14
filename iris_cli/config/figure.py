"""How figures look: fonts, colours, the range of the colour scale, and the orbits over an image."""

from __future__ import annotations

from dataclasses import dataclass

from iris_cli.config.setting import check, setting
from iris_cli.errors import UsageError

STRETCHES = ("asinh", "log", "sqrt", "linear")
#: Perceptually uniform, and readable with any colour vision.
COLOURS = ("cividis", "viridis", "magma", "inferno", "plasma", "gray", "gray_r")
STYLE_NAMES = ("screen", "talk", "mnras", "aanda", "apj")
PANEL = "Look"


@dataclass(frozen=True)
class FigureConfig:
    """The look of the figures of `iris plot`. Each figure uses the keys that apply to it: a spectrum has no colours."""

    style: str = setting("screen", "Width and fonts.", "--style", choices=STYLE_NAMES, panel=PANEL)
    title: str | None = setting(
        None, 'Text above the figure; "" for none.', "--title", unset="the name of the data", panel=PANEL
    )
    stretch: str = setting("asinh", "Scale of the colours.", "--stretch", choices=STRETCHES, panel=PANEL)
    low: float = setting(0.0, "Value at which the colours begin, in the unit of the image.", "--low", panel=PANEL)
    high: float | None = setting(
        None, "Value at which the colours end.", "--high", unset="the highest value", panel=PANEL
    )
    colours: str = setting("cividis", "Colour map.", "--colours", choices=COLOURS, panel=PANEL)
    orbits: tuple[str, ...] = setting(
        (),
        "Orbit to draw: walker, lipman, a file of a published model (rows of l, b, v and near or far), or a folder of "
        "such files; may be given several times.",
        "--orbit",
        panel=PANEL,
    )

    def __post_init__(self) -> None:
        check(self)
        if self.high is not None and not self.low < self.high:
            raise UsageError(f"low = {self.low:g} is not below high = {self.high:g}", "low must be below high")
