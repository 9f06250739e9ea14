"""Writes docs/from_mock_to_map.ipynb from docs/notebook.md: `python docs/write_notebook.py`. A test compares them."""

import json
import re
from pathlib import Path

PAGE = Path(__file__).with_name("notebook.md")
NOTEBOOK = PAGE.with_name("from_mock_to_map.ipynb")


def render() -> str:
    """A block of Python is a cell, and so is the text between two. Links to other pages are left out."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    cells = []
    for number, part in enumerate(re.split(r"^```(?:python)?\n", PAGE.read_text(encoding="utf-8"), flags=re.M)):
        code = number % 2 == 1
        text = part if code else re.sub(r"\[([^]]+)\]\([^)]+\.(?:md|ipynb)\)", r"\1", part)
        kind = {"cell_type": "code", "execution_count": None, "outputs": []} if code else {"cell_type": "markdown"}
        if text.strip():
            cells.append({"id": f"cell-{number}", "metadata": {}, "source": text.strip().splitlines(True), **kind})
    notebook = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    NOTEBOOK.write_text(render(), encoding="utf-8")
