"""Images and curves drawn with characters: half blocks in colour on a terminal, ASCII elsewhere."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

INK = " .:-=+*#%@"
#: Black, blue, grey, yellow: similar to cividis, readable with any colour vision.
_COLOURS = np.array([[0, 0, 0], [0, 32, 81], [60, 77, 110], [127, 124, 117], [187, 173, 108], [253, 234, 69]], float)


def side_by_side(images: Sequence[NDArray], titles: Sequence[str], width: int, colour: bool) -> list[str]:
    """Lines of text that show images (rows from top to bottom), each with its own colour scale."""
    each = max(min((width - 2 * (len(images) - 1)) // len(images), 64), 8)
    drawn = [_in_colour(image, each) if colour else _in_ink(image, each) for image in images]
    columns = [min(each, image.shape[1]) for image in images]
    heads = "  ".join(title[:n].center(n) for title, n in zip(titles, columns, strict=True))
    height = max(len(lines) for lines in drawn)
    padded = [lines + [" " * n] * (height - len(lines)) for lines, n in zip(drawn, columns, strict=True)]
    return [heads, *("  ".join(parts) for parts in zip(*padded, strict=True))]


def stretched(image: NDArray) -> NDArray[np.float64]:
    """0 ... 1: linear near zero, logarithmic above a fiftieth of the peak; 0 for values that are not finite."""
    values = np.nan_to_num(np.asarray(image, np.float64), nan=0.0, posinf=0.0, neginf=0.0).clip(min=0.0)
    peak = values.max(initial=0.0)
    return np.arcsinh(values / (0.02 * peak)) / np.arcsinh(50.0) if peak > 0 else values


def shrunk(image: NDArray, rows: int, columns: int) -> NDArray[np.float64]:
    """The mean over blocks, if the image is larger than this."""
    values = np.asarray(image, np.float64)
    for axis, size in enumerate((rows, columns)):
        if values.shape[axis] > size:
            edges = np.linspace(0, values.shape[axis], size + 1).astype(int)
            counts = np.diff(edges).reshape([-1, 1] if axis == 0 else [1, -1])
            values = np.add.reduceat(values, edges[:-1], axis=axis) / counts
    return values


def _in_ink(image: NDArray, width: int) -> list[str]:
    """A character is twice as high as wide."""
    shades = (stretched(shrunk(image, width // 2, width)) * (len(INK) - 1)).round().astype(int)
    return ["".join(INK[i] for i in row) for row in shades]


def _in_colour(image: NDArray, width: int) -> list[str]:
    """Two pixels per character: the upper one in the foreground colour, the lower one in the background colour."""
    values = stretched(shrunk(image, width, width))
    if len(values) % 2:
        values = np.vstack([values, np.zeros((1, values.shape[1]))])
    place = values * (len(_COLOURS) - 1)
    channels = [np.interp(place, np.arange(len(_COLOURS)), channel) for channel in _COLOURS.T]
    rgb = np.stack(channels, -1).round().astype(int)
    cell = "\033[38;2;{};{};{};48;2;{};{};{}m▀"
    pairs = np.concatenate([rgb[::2], rgb[1::2]], axis=-1).tolist()
    return ["".join(cell.format(*pair) for pair in line) + "\033[0m" for line in pairs]


def curves(series: Mapping[str, Sequence[tuple[float, float]]], width: int, height: int = 6) -> list[str]:
    """Lines of at most `width` characters with points (x, y > 0): the first letter of a series' name marks its points,
    a later series is above an earlier one. The scale of y is logarithmic; where points share a column, it has the mean.
    The highest twentieth, which are those of the first steps of a training, may be above the scale: in its first row.
    """
    points = {name: np.array([p for p in found if np.isfinite(p).all() and p[1] > 0]) for name, found in series.items()}
    points = {name: found for name, found in points.items() if len(found)}
    columns = min(width - 9, 64)
    if not points or columns < 8:
        return []
    x, y = np.concatenate(list(points.values())).T
    low, high = np.log([y.min(), np.quantile(y, 0.95)])
    grid = np.full((height, columns), " ")
    for name, found in points.items():
        place = np.round((found[:, 0] - x.min()) / max(np.ptp(x), 1e-9) * (columns - 1)).astype(int)
        for column in np.unique(place):
            value = np.log(found[place == column, 1]).mean()
            row = (height - 1) * (0.5 if high == low else (high - value) / (high - low))
            grid[max(0, round(row)), column] = name[0]
    labels = [f"{np.exp(high):.3g}", *[""] * (height - 2), f"{np.exp(low):.3g}"]
    drawn = [f"{label:>7} |{''.join(row)}".rstrip() for label, row in zip(labels, grid, strict=True)]
    return [*drawn, f"{'':>8}{', '.join(f'{name[0]}: {name}' for name in points)}"[:width]]
