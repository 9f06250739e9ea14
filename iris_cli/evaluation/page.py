"""A page of headings, paragraphs, tables and figures, written as Markdown or as one self-contained HTML file."""

import base64
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape as html_escape
from pathlib import Path

from iris_cli.text import printable

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #bbb; }
h1, p, figcaption, td:nth-child(2):last-child { overflow-wrap: anywhere; }
table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.8rem 0.2rem 0; text-align: left; border-bottom: 1px solid #e2e2e2; vertical-align: top; }
td:nth-child(n+3):last-child:not(.n) { min-width: 10rem; }
.table, pre { overflow-x: auto; margin: 1rem 0; } td small { color: #555; } td small, .n { white-space: nowrap; }
figure { margin: 1.5rem 0; } img { max-width: 100%; } figcaption { color: #333; font-size: 0.9rem; }
pre { font-size: 0.8rem; background: #f6f6f6; padding: 0.5rem; }
nav > ul { columns: 17rem; } nav ul { padding-left: 1.2rem; margin: 0; }
nav a { color: #024ea2; text-decoration: none; }
@media (max-width: 40rem) {
  body { font-size: 15px; margin: 1rem auto; padding: 0 0.7rem; } h1 { font-size: 1.5rem; } h2 { font-size: 1.25rem; }
  table { font-size: 0.8rem; } th, td { padding-right: 0.5rem; }
  .wide { overflow-x: auto; } .wide img { max-width: none; width: 44rem; }
}
@media print {
  @page { margin: 15mm; }
  body { font: 9pt/1.35 serif; max-width: none; margin: 0; padding: 0; } nav { display: none; }
  table { font-size: 7pt; } .table, pre { overflow: visible; } pre { white-space: pre-wrap; font-size: 6.5pt; }
  tr, figure { break-inside: avoid; } h2, h3 { break-after: avoid; } thead { display: table-header-group; }
  img { max-height: 200mm; }
}
"""


#: The heading above the pictures.
FIGURES = "Figures"
#: Figures of more pixels than this have several panels: a phone scrolls them.
WIDE = 1000
#: Characters with a meaning in Markdown; an underscore has none between letters.
_MARKS = re.compile(r"[\\`*\[\]]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def _html(text: str) -> str:
    return html_escape(printable(text))


def _markdown(text: str) -> str:
    """Text in which neither Markdown nor HTML has a meaning."""
    return _MARKS.sub(r"\\\g<0>", html_escape(printable(text), quote=False)).replace("|", "&#124;")


def _id(text: str) -> str:
    """The name by which the table of contents links to a heading."""
    return re.sub(r"\W+", "-", text.lower()).strip("-")


def _link(name: str, within: str = "") -> str:
    return f'<li><a href="#{_id(name)}">{_html(name)}</a>{within}</li>'


@dataclass(frozen=True)
class Heading:
    text: str
    level: int = 2

    def markdown(self) -> str:
        return f"{'#' * self.level} {_markdown(self.text)}"

    def html(self, folder: Path) -> str:
        return f'<h{self.level} id="{_id(self.text)}">{_html(self.text)}</h{self.level}>'


@dataclass(frozen=True)
class Paragraph:
    text: str

    def markdown(self) -> str:
        return _markdown(self.text)

    def html(self, folder: Path) -> str:
        return f"<p>{_html(self.text)}</p>"


@dataclass(frozen=True)
class Code:
    """Lines as they are, such as a configuration."""

    text: str

    def markdown(self) -> str:
        return "\n".join(f"    {line}" for line in printable(self.text, keep="\n").splitlines())

    def html(self, folder: Path) -> str:
        return f"<pre>{html_escape(printable(self.text, keep=chr(10)))}</pre>"


@dataclass(frozen=True)
class Table:
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        return "\n".join(f"| {' | '.join(map(_markdown, line))} |" for line in lines)

    def html(self, folder: Path) -> str:
        head = "".join(f"<th>{_html(cell)}</th>" for cell in self.header)
        body = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in self.rows)
        return f'<div class="table"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def _cell(text: str) -> str:
    """Numbers are not broken into lines, and an interval in brackets behind them is small."""
    number = re.fullmatch(r"[-+.\de… ]+(\(.*\))?", text)
    small = re.sub(r" (\([^()]*…[^()]*\))$", r" <small>\1</small>", _html(text))
    return f'<td class="n">{small}</td>' if number and "<" not in small else f"<td>{small}</td>"


@dataclass(frozen=True)
class Picture:
    """A PNG in the page's folder; the HTML page embeds it. The first sentence of the caption is its title."""

    number: int
    file: str
    caption: str

    @property
    def title(self) -> str:
        return f"Figure {self.number}: {self.caption.partition('. ')[0]}."

    @property
    def text(self) -> str:
        """The caption without its title."""
        return self.caption.partition(". ")[2]

    def markdown(self) -> str:
        return f"![{self.file}]({self.file})\n\n*{_markdown(f'{self.title} {self.text}')}*"

    def html(self, folder: Path) -> str:
        data = (folder / self.file).read_bytes()
        (width,) = struct.unpack(">I", data[16:20])  # of a PNG
        wide = ' class="wide"' if width > WIDE else ""
        image = f'<img alt="{_html(self.title)}" src="data:image/png;base64,{base64.b64encode(data).decode()}">'
        caption = f"<figcaption><b>{_html(self.title)}</b> {_html(self.text)}</figcaption>"
        return f'<figure id="{_id(self.title)}"><div{wide}>{image}</div>{caption}</figure>'


Block = Heading | Paragraph | Code | Table | Picture


def markdown(blocks: Sequence[Block]) -> str:
    return "\n\n".join(block.markdown() for block in blocks) + "\n"


def html(title: str, blocks: Sequence[Block], folder: Path) -> str:
    """The page for a screen, a phone and print; its contents are listed below the first heading and its paragraph."""
    pictures = "".join(_link(block.title) for block in blocks if isinstance(block, Picture))
    chapters = (block.text for block in blocks if isinstance(block, Heading) and block.level == 2)
    listed = "".join(_link(name, f"<ul>{pictures}</ul>" if name == FIGURES else "") for name in chapters)
    made = [block.html(folder) for block in blocks]
    body = "\n".join([*made[:1], f"<nav><ul>{listed}</ul></nav>", *made[1:]])
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{_html(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )
