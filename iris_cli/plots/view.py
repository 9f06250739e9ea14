"""Arrays to browse: one HTML file with sliders, a colour scale and the value under the pointer, or a window."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.widgets import Slider
from numpy.typing import NDArray

from iris_cli.axes import Axis
from iris_cli.plots.axes_of_sky import COLOURS, draw_image, stretch
from iris_cli.text import printable

#: Numbers in a page: 3 bytes each in its text.
MOST_VALUES = 4_000_000
#: A value in the page is one of so many steps between the least and the highest; the next one is "no value".
STEPS = 65534
LABELS = {"longitude": "Galactic longitude", "latitude": "Galactic latitude", "velocity": "LSR velocity"}
LABELS |= {"distance": "distance from the Sun"}


@dataclass(frozen=True)
class Layer:
    """`values` on the axes `dims`. Layers of one `group` have one colour scale, which is linear for a `fraction`."""

    title: str
    unit: str
    values: NDArray
    dims: tuple[str, ...]
    group: str
    fraction: bool = False


@dataclass(frozen=True)
class Panel:
    """An image of a layer, with two of its axes; the others have sliders."""

    layer: Layer
    across: str
    up: str
    name: str = ""

    @property
    def title(self) -> str:
        return self.name or self.layer.title


@dataclass(frozen=True)
class View:
    """`places` are axes by name; an axis of things with `names` (pairs, samples) is one of numbers 0, 1, …"""

    title: str
    panels: Sequence[Panel]
    places: Mapping[str, Axis]
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    caption: str = ""

    @property
    def axes(self) -> dict[str, Axis]:
        numbered = {name: Axis(name, "", 0, max(0, len(each) - 1), len(each)) for name, each in self.names.items()}
        return {**self.places, **numbered}

    @property
    def sliders(self) -> list[str]:
        """Axes that some panel does not show."""
        hidden = (d for p in self.panels for d in p.layer.dims if d not in (p.across, p.up))
        return list(dict.fromkeys(hidden))


def fitting(values: NDArray, axes: Sequence[Axis], most: int) -> tuple[NDArray, list[Axis]]:
    """Means over neighbours along the longest axis, until there are at most `most` values; NaN counts for nothing."""
    found, kept = values, list(axes)
    while found.size > most:
        k = int(np.argmax(found.shape))
        n = found.shape[k] // 2
        pairs = np.moveaxis(found, k, 0)[: 2 * n].reshape(n, 2, *np.delete(found.shape, k))
        known = np.isfinite(pairs)
        total, count = np.where(known, pairs, 0.0).sum(axis=1), known.sum(axis=1)
        found = np.moveaxis(np.where(count, total / np.maximum(count, 1), np.nan), 0, k)
        old = kept[k]
        first = old.first + 0.5 * old.step
        kept[k] = Axis(old.name, old.unit, first, first + 2.0 * old.step * (n - 1), n)
    return found, kept


def html(view: View) -> str:
    """One page that needs nothing else."""
    layers = {id(panel.layer): panel.layer for panel in view.panels}
    places = {key: k for k, key in enumerate(layers)}
    record = {
        "axes": {
            name: {"label": LABELS.get(name, name), "unit": axis.unit.replace(" ", ""), "first": axis.first}
            | {"last": axis.last, "steps": axis.steps, "names": [printable(n) for n in view.names.get(name, ())]}
            for name, axis in view.axes.items()
        },
        "layers": [_encoded(layer) for layer in layers.values()],
        "panels": [
            {"layer": places[id(p.layer)], "title": p.title, "across": p.across, "up": p.up} for p in view.panels
        ],
        "sliders": view.sliders,
        "colours": {name: _table(name) for name in (COLOURS, "RdBu")},
    }
    data = json.dumps(record, allow_nan=False).replace("<", "\\u003c")
    page = files("iris_cli.plots").joinpath("view.html").read_text(encoding="utf-8")
    for name, text in (("TITLE", view.title), ("CAPTION", view.caption)):
        page = page.replace(f"@{name}@", _escaped(text))
    return page.replace("@DATA@", data)


def _escaped(text: str) -> str:
    return printable(text).replace("&", "&amp;").replace("<", "&lt;")


def _table(name: str) -> list[str]:
    return [to_hex(matplotlib.colormaps[name](k)) for k in range(256)]


def _encoded(layer: Layer) -> dict[str, Any]:
    values = np.asarray(layer.values, np.float64)
    known = np.isfinite(values)
    low, high = (float(f(values[known])) if known.any() else 0.0 for f in (np.min, np.max))
    scaled = np.where(known, (np.where(known, values, low) - low) / max(high - low, 1e-300) * STEPS, STEPS + 1)
    coded = base64.b64encode(scaled.round().astype("<u2").tobytes()).decode("ascii")
    about = {"title": layer.title, "unit": layer.unit, "dims": layer.dims, "shape": values.shape, "group": layer.group}
    return {**about, "low": low, "high": high, "values": coded, "fraction": layer.fraction}


def figure(view: View) -> tuple[Figure, list[Slider]]:
    """The same in a window of matplotlib (made by pyplot); the sliders must be kept while it is open."""
    from matplotlib import pyplot

    count = len(view.panels)
    drawn = pyplot.figure(figsize=(4.6 * count, 4.6 + 0.4 * len(view.sliders)))
    bottom = 0.16 + 0.06 * len(view.sliders)
    axes = drawn.subplots(1, count, squeeze=False, gridspec_kw={"bottom": bottom, "top": 0.92, "wspace": 0.35})[0]
    place = dict.fromkeys(view.sliders, 0)
    images = []
    for panel, ax in zip(view.panels, axes, strict=True):
        image = _plane(panel, place)
        across, up = view.axes[panel.across], view.axes[panel.up]
        images.append(
            draw_image(ax, image, across, up, _norm(panel, image), "RdBu" if panel.layer.fraction else COLOURS)
        )
        ax.set(title=panel.title, xlabel=_label(across), ylabel=_label(up))
        drawn.colorbar(images[-1], ax=ax, label=panel.layer.unit)

    def show(_: float) -> None:
        place.update((name, int(slider.val)) for name, slider in zip(view.sliders, sliders, strict=True))
        for panel, image in zip(view.panels, images, strict=True):
            image.set_data(_plane(panel, place))
            image.set_norm(_norm(panel, _plane(panel, place)))
        drawn.canvas.draw_idle()

    sliders = []
    for k, name in enumerate(view.sliders):
        ax = drawn.add_axes((0.2, 0.03 + 0.05 * k, 0.6, 0.03))
        sliders.append(Slider(ax, name, 0, max(view.axes[name].steps - 1, 1), valinit=0, valstep=1))
        sliders[-1].on_changed(show)
    drawn.suptitle(printable(view.title), parse_math=False)
    return drawn, sliders


def _norm(panel: Panel, image: NDArray) -> Any:
    return matplotlib.colors.Normalize(0.0, 1.0) if panel.layer.fraction else stretch(image)


def _label(axis: Axis) -> str:
    return f"{LABELS.get(axis.name, axis.name)} [{axis.unit.replace(' ', '')}]"


def _plane(panel: Panel, place: dict[str, int]) -> NDArray:
    """(up, across) at the places of the sliders."""
    dims = panel.layer.dims
    values = panel.layer.values[tuple(slice(None) if d in (panel.across, panel.up) else place[d] for d in dims)]
    left = [d for d in dims if d in (panel.across, panel.up)]
    return values if left == [panel.up, panel.across] else values.T
