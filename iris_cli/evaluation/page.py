"""A page of headings, paragraphs, tables and figures, written as Markdown or as one self-contained HTML file."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape as html_escape
from pathlib import Path

from iris_cli.text import printable

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #bbb; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.8rem 0.2rem 0; text-align: left; border-bottom: 1px solid #e2e2e2; vertical-align: top; }
figure { margin: 1.5rem 0; } img { max-width: 100%; } figcaption { color: #444; font-size: 0.9rem; }
.table { overflow-x: auto; }
"""


#: Characters with a meaning in Markdown; an underscore has none between letters.
_MARKS = re.compile(r"[\\`*\[\]]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def _html(text: str) -> str:
    return html_escape(printable(text))


def _markdown(text: str) -> str:
    """Text in which neither Markdown nor HTML has a meaning."""
    return _MARKS.sub(r"\\\g<0>", html_escape(printable(text), quote=False)).replace("|", "&#124;")


@dataclass(frozen=True)
class Heading:
    text: str
    level: int = 2

    def markdown(self) -> str:
        return f"{'#' * self.level} {_markdown(self.text)}"

    def html(self, folder: Path) -> str:
        return f"<h{self.level}>{_html(self.text)}</h{self.level}>"


@dataclass(frozen=True)
class Paragraph:
    text: str

    def markdown(self) -> str:
        return _markdown(self.text)

    def html(self, folder: Path) -> str:
        return f"<p>{_html(self.text)}</p>"


@dataclass(frozen=True)
class Table:
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        return "\n".join(f"| {' | '.join(map(_markdown, line))} |" for line in lines)

    def html(self, folder: Path) -> str:
        head = "".join(f"<th>{_html(cell)}</th>" for cell in self.header)
        body = "\n".join(f"<tr>{''.join(f'<td>{_html(cell)}</td>' for cell in row)}</tr>" for row in self.rows)
        return f'<div class="table"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


@dataclass(frozen=True)
class Picture:
    """A PNG in the page's folder; the HTML page embeds it."""

    file: str
    caption: str

    def markdown(self) -> str:
        return f"![{self.file}]({self.file})\n\n*{_markdown(self.caption)}*"

    def html(self, folder: Path) -> str:
        data = base64.b64encode((folder / self.file).read_bytes()).decode("ascii")
        image = f'<img alt="{_html(self.caption)}" src="data:image/png;base64,{data}">'
        return f"<figure>{image}<figcaption>{_html(self.caption)}</figcaption></figure>"


Block = Heading | Paragraph | Table | Picture


def markdown(blocks: Sequence[Block]) -> str:
    return "\n\n".join(block.markdown() for block in blocks) + "\n"


def html(title: str, blocks: Sequence[Block], folder: Path) -> str:
    body = "\n".join(block.html(folder) for block in blocks)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{_html(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )
