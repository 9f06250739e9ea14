"""Training and validation loss and the learning rate against optimizer steps; the losses of trivial predictors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from iris_cli.plots.style import DASHES, LINES, STYLES, Style, plain_ticks


@dataclass(frozen=True)
class History:
    """(step, loss) of training and of validation, and the validation loss of each trivial predictor by its name."""

    training: Sequence[tuple[int, float]]
    validation: Sequence[tuple[int, float]]
    trivial: Mapping[str, float]
    #: (step, learning rate)
    learning_rates: Sequence[tuple[int, float]] = ()


def draw_losses(histories: Mapping[str, History], *, title: str = "", style: Style = STYLES["screen"]) -> Figure:
    """A colour for each run: thin lines for training, thick lines for validation, a dot for the best epoch.

    The learning rate, where it is known, is in a panel below.
    """
    figure = style.figure()
    rates = any(history.learning_rates for history in histories.values())
    panels = figure.subplots(1 + rates, 1, sharex=True, squeeze=False, height_ratios=(4, 1)[: 1 + rates])[:, 0]
    ax = panels[0]
    several = len(histories) > 1
    for (name, history), colour in zip(histories.items(), LINES * len(histories), strict=False):
        steps, losses = zip(*history.training, strict=True) if history.training else ((), ())
        thin, thick = 0.5 * style.line_pt, 1.3 * style.line_pt
        ax.plot(steps, losses, color=colour, linewidth=thin, alpha=0.5, label=None if several else "training")
        if history.validation:
            steps, losses = zip(*history.validation, strict=True)
            ax.plot(steps, losses, color=colour, linewidth=thick, label=name if several else "validation")
            best = min(history.validation, key=lambda point: point[1])
            ax.plot(*best, "o", color=colour, label=None if several else "best epoch")
        if history.learning_rates:
            panels[1].plot(*zip(*history.learning_rates, strict=True), color=colour, linewidth=thick)
    first = next(iter(histories.values()))
    for (name, loss), dashes in zip(first.trivial.items(), DASHES[1:], strict=False):
        ax.axhline(loss, color="0.45", linestyle=dashes, linewidth=0.75 * style.line_pt, label=name)
    ax.set_yscale("log")
    ax.set(ylabel="loss")
    if rates:
        panels[1].set(ylabel="learning rate", ylim=(0.0, None))
    panels[-1].set_xlabel("optimizer steps")
    plain_ticks(ax.yaxis)
    ax.legend(ncols=1 + len(histories) // 6, frameon=True, framealpha=0.85, edgecolor="none")
    ax.set_title(title)
    return figure
