"""How figures look: fonts, colours, the range of the colour scale, and the orbits over an image."""

from dataclasses import dataclass

from iris_cli.config.setting import Checked, panel
from iris_cli.errors import UsageError

STRETCHES = ("asinh", "log", "sqrt", "linear")
#: Perceptually uniform, and readable with any colour vision.
COLOURS = ("cividis", "viridis", "magma", "inferno", "plasma", "gray", "gray_r")
STYLE_NAMES = ("screen", "talk", "mnras", "aanda", "apj")
of_look = panel("Look")


@dataclass(frozen=True)
class FigureConfig(Checked):
    """The look of the figures of `iris plot`. Each figure uses the keys that apply to it: a spectrum has no colours."""

    style: str = of_look("screen", "Width and fonts.", "--style", choices=STYLE_NAMES)
    title: str | None = of_look(None, 'Text above the figure; "" for none.', "--title", unset="the name of the data")
    stretch: str = of_look("asinh", "Scale of the colours.", "--stretch", choices=STRETCHES)
    low: float = of_look(0.0, "Value at which the colours begin, in the unit of the image.", "--low")
    high: float | None = of_look(None, "Value at which the colours end.", "--high", unset="the highest value")
    colours: str = of_look("cividis", "Colour map.", "--colours", choices=COLOURS)
    orbits: tuple[str, ...] = of_look(
        (),
        "Orbit to draw: walker, lipman, a file of a published model (rows of l, b, v and near or far), or a folder of "
        "such files; may be given several times.",
        "--orbit",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.high is not None and not self.low < self.high:
            raise UsageError(f"low = {self.low:g} is not below high = {self.high:g}", "low must be below high")
