"""Sizes and fonts of figures, for a screen or the columns of a journal; and how figures are saved."""

import io
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from iris_cli.errors import UsageError, choose
from iris_cli.files import atomic_file, write_text
from iris_cli.text import printable

_MM_PER_INCH = 25.4
FORMATS = (".png", ".pdf", ".svg")
#: Colours of lines that are distinct for any colour vision (Okabe & Ito 2008), darkest first.
LINES = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 3)))
#: Ticks inside the frame on all four sides; PDF and SVG keep text as text, with the same names in each run.
_RC: dict[str, Any] = {"xtick.direction": "in", "ytick.direction": "in", "xtick.top": True, "ytick.right": True}
_RC |= {"xtick.minor.visible": True, "ytick.minor.visible": True, "legend.frameon": False}
_RC |= {"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "iris"}

Layout = Literal["constrained", "compressed"]


@dataclass(frozen=True)
class Style:
    """Width of a column and of a page, font size, line width, and resolution of a PNG.

    In a `paper`, a caption is not part of the figure: `save` writes it into a file of LaTeX.
    """

    column_mm: float = 165.0
    page_mm: float = 315.0
    font_pt: float = 10.0
    line_pt: float = 1.5
    dpi: int = 130
    paper: bool = False

    @contextmanager
    def applied(self) -> "Iterator[Style]":
        """Sets fonts, lines and ticks while a figure is drawn and saved."""
        large = ("font.size", "axes.titlesize", "axes.labelsize", "figure.titlesize")
        small = ("legend.fontsize", "xtick.labelsize", "ytick.labelsize")
        values = {**dict.fromkeys(large, self.font_pt), **dict.fromkeys(small, 0.875 * self.font_pt)}
        values |= {"lines.linewidth": self.line_pt, "axes.linewidth": 0.5 * self.line_pt}
        with matplotlib.rc_context({**_RC, **values}):
            yield self

    def figure(self, columns: int = 1, rows: int = 1, aspect: float = 0.75, layout: Layout = "constrained") -> Figure:
        """A figure for so many panels, each `aspect` times as high as wide: one column wide for one, else a page.

        Panels with a fixed aspect ratio need the layout "compressed".
        """
        width = (self.column_mm if columns == 1 else self.page_mm) / _MM_PER_INCH
        figure = Figure(figsize=(width, width / columns * aspect * rows), layout=layout)
        FigureCanvasAgg(figure)
        return figure


def plain_ticks(axis: Axis) -> None:
    """Plain numbers along a logarithmic axis of one or few decades."""
    low, high = sorted(axis.get_view_interval())
    digits = (1, 2, 5) if high > 10.0 * max(low, 1e-300) else (1, 2, 3, 4, 5, 6, 8)
    axis.set_major_locator(LogLocator(subs=digits))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


#: Widths are those of the journals' instructions for authors.
STYLES = {
    "screen": Style(),
    "mnras": Style(84.0, 177.0, 8.0, 1.0, 300, paper=True),
    "aanda": Style(88.0, 180.0, 8.0, 1.0, 300, paper=True),
    "apj": Style(85.0, 180.0, 8.0, 1.0, 300, paper=True),
    "talk": Style(200.0, 330.0, 16.0, 2.5, 150),
}


def write_below(figure: Figure, caption: str, style: Style = STYLES["screen"]) -> None:
    """Write a caption in a small font, wrapped at the figure's width; a dollar sign does not start a formula.

    The label of the figure, which is not drawn, keeps it for `save`.
    """
    figure.set_label(caption)
    if style.paper:
        return
    letter_pt = 0.54 * 0.83 * matplotlib.rcParams["font.size"]  # the average width of a letter in a small font
    columns = int(72 * figure.get_figwidth() / letter_pt)
    figure.supxlabel(textwrap.fill(printable(caption), columns), fontsize="small", parse_math=False)


#: Characters of a name in a figure; longer ones are shortened in the middle.
LONGEST_LABEL = 90


def as_label(name: str) -> str:
    """A name from outside as the text of a figure: no formula begins in it, and matplotlib omits no leading `_`."""
    text = printable(name).replace("$", r"\$")
    if len(text) > LONGEST_LABEL:
        text = f"{text[: LONGEST_LABEL // 2]}…{text[-LONGEST_LABEL // 2 :]}"
    return f" {text}" if text.startswith("_") else text


def style_of(name: str) -> Style:
    """The style of this name. UsageError for an unknown one."""
    return choose("style", name, STYLES)


#: Format -> the metadata field for text, and the fields for dates, which stay empty.
_METADATA_FIELDS: dict[str, tuple[str, dict[str, str | None]]] = {
    ".png": ("Description", {}),
    ".pdf": ("Subject", {"CreationDate": None, "ModDate": None}),
    ".svg": ("Description", {"Date": None}),
}


def save(
    figure: Figure, path: Path, style: Style = STYLES["screen"], history: Sequence[str] = (), caption: str = ""
) -> None:
    """Write a PNG, PDF or SVG, by its suffix. The same figure gives the same bytes: no date is written.

    `history` says how the figure was made and becomes part of the file's metadata. For a paper, the caption (or that of
    `write_below`) is written beside it, as a figure of LaTeX in a file with the suffix .tex.
    """
    text, dates = _METADATA_FIELDS[path.suffix.lower()]
    metadata = {**dates, text: "\n".join(map(printable, history))} if history else dates
    drawn = io.BytesIO()  # on a full disk, matplotlib's own writer of PDF fails with another error
    with style.applied(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a name in a script that the font does not have
        try:
            figure.savefig(drawn, format=path.suffix[1:].lower(), dpi=style.dpi, metadata=metadata)
        except ValueError as error:
            if "ParseException" not in str(error) and "ParseFatalException" not in str(error):
                raise
            formula, *_, reason = str(error).strip().splitlines()
            what = f"the formula {formula} cannot be drawn: {reason}"
            raise UsageError(what, "write \\$ for a dollar sign") from None
    with atomic_file(path) as file:
        file.write(drawn.getbuffer())
    if style.paper and (caption := caption or str(figure.get_label())):
        wide = "*" if figure.get_figwidth() * _MM_PER_INCH > 1.1 * style.column_mm else ""
        write_text(path.with_suffix(".tex"), latex_figure(path, caption, wide))


def latex_figure(path: Path, caption: str, wide: str = "") -> str:
    """A figure of LaTeX, for `\\input`; `wide` is "*" for one across both columns. The width is that of the file."""
    lines = f"\\begin{{figure{wide}}}", "  \\centering", f"  \\includegraphics{{{path.name}}}"
    ends = f"  \\caption{{{in_latex(caption)}}}", f"  \\label{{fig:{path.stem}}}", f"\\end{{figure{wide}}}"
    return "\n".join((*lines, *ends)) + "\n"


_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$"}
_LATEX |= {c: f"\\{c}" for c in "#$%&_{}"} | {"…": r"\ldots{}", "±": r"$\pm$", "°": r"$^\circ$", "→": r"$\to$"}


def in_latex(text: str) -> str:
    """A caption in which no character has a meaning for LaTeX, with H2 as a formula."""
    plain = "".join(_LATEX.get(c, c) for c in printable(text))
    return re.sub(r"\bH2\b", "H$_2$", plain).replace("Sgr A*", "Sgr~A*")
