"""Two images of one grid side by side, their difference, and their ratio."""

import re
from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from iris_cli.axes import Axis
from iris_cli.errors import DataError
from iris_cli.plots.axes_of_sky import (
    DISTANCE,
    LATITUDE,
    LONGITUDE,
    PLAIN,
    VELOCITY,
    VELOCITY_COLOURS,
    Appearance,
    Picture,
    colour_bar,
    draw_image,
    stretch,
)
from iris_cli.plots.style import as_label, plain_ticks, write_below

_LABELS = {"longitude": LONGITUDE, "latitude": LATITUDE, "velocity": VELOCITY, "distance": DISTANCE}
#: Axes agree if their ends differ by less than this share of a step.
_SAME = 0.01
#: The ratio is drawn where both images exceed this share of their maxima.
FAINT = 0.01


def check_same_grid(one: Picture, other: Picture) -> None:
    """DataError with the two numbers, or units, that differ."""
    hint = "make both on one grid (`iris cube --preset …` for telescope cubes), in one unit"
    for a, b in ((one.across, other.across), (one.up, other.up)):
        ends_differ = max(abs(a.first - b.first), abs(a.last - b.last)) > _SAME * abs(a.step)
        found = [("kind of axis", a.name, b.name), (f"pixels along {a.name}", str(a.steps), str(b.steps))]
        found += [(f"{a.name} of the pixels", _ends(a), _ends(b))] if ends_differ else []
        for what, x, y in found:
            if x != y:
                raise DataError(f"{one.name} and {other.name} differ in {what}: {x} and {y}", hint)
    if one.label != other.label:
        raise DataError(f"{one.name} shows {_plain(one)}, {other.name} {_plain(other)}", hint)


def _ends(axis: Axis) -> str:
    return f"{axis.first:.8g} … {axis.last:.8g} {axis.unit}"


def _plain(picture: Picture) -> str:
    """The label without the marks of a formula."""
    return re.sub(r"[$\\{}]", "", picture.label.replace("odot", "sun").replace("\n", " "))


def ratio(one: NDArray, other: NDArray) -> NDArray[np.float64]:
    """other / one, NaN where one of them is fainter than FAINT of its maximum."""
    first, second = (image > FAINT * max(np.fmax.reduce(image, axis=None), 0.0) for image in (one, other))
    bright = first & second
    return np.divide(other, one, out=np.full(one.shape, np.nan), where=bright)


def draw_comparison(one: Picture, other: Picture, look: Appearance = PLAIN) -> Figure:
    """A, B on one colour scale (`look.norm`); B - A; and B / A where both are bright. They have one grid and one unit.

    The text below has the ratio of the sums and the root mean square of the difference, over pixels that both have.
    DataError when there is no such pixel.
    """
    a, b = (np.asarray(each.image, np.float64) for each in (one, other))
    difference, ratios = b - a, ratio(a, b)
    both = np.isfinite(difference)
    if not both.any():
        raise DataError(f"{one.name} and {other.name} have no observed pixel in common")
    norm = look.norm or stretch(np.stack([a, b]))
    far = float(np.abs(difference[both]).max()) or 1.0
    factor = max(float(np.exp(np.abs(np.log(ratios[np.isfinite(ratios)])).max(initial=0.0))), 1.1)
    figure = look.style.figure(2, 2, aspect=0.7)
    panels = figure.subplots(2, 2, sharex=True, sharey=True)
    shown: Sequence[tuple[NDArray, Normalize, str, str, str]] = (
        (a, norm, look.colours, f"A: {as_label(one.name)}", one.label),
        (b, norm, look.colours, f"B: {as_label(other.name)}", one.label),
        (difference, Normalize(-far, far), VELOCITY_COLOURS, "B - A", one.label),
        (ratios, LogNorm(1.0 / factor, factor), VELOCITY_COLOURS, "B / A", "B / A"),
    )
    for ax, (image, scale, colours, title, label) in zip(panels.flat, shown, strict=True):
        drawn = draw_image(ax, image, one.across, one.up, scale, colours)
        ax.set_facecolor("0.8")
        ax.set(title=title, xlabel=_LABELS[one.across.name], ylabel=_LABELS[one.up.name])
        ax.label_outer()
        bar = colour_bar(drawn, ax, label)
    plain_ticks(bar.ax.yaxis)
    figure.suptitle(look.title)
    total = np.divide(b[both].sum(), a[both].sum()) if a[both].sum() else np.nan
    rms = float(np.sqrt((difference[both] ** 2).mean()))
    write_below(
        figure,
        f"Sum of B over sum of A: {total:.4g}. Root mean square of the difference: {rms:.4g}, in the "
        f"unit of the images. Ratio where both exceed {100 * FAINT:.0f} % of their maxima; grey: no value.",
        look.style,
    )
    return figure
