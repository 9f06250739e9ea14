"""The docs say what the program does."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from typer.main import get_command

from iris_cli.app import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", ["cli", "configuration", "python"])
def test_a_reference_page_is_what_the_program_says(page: str) -> None:
    spec = importlib.util.spec_from_file_location(f"write_{page}", ROOT / f"docs/write_{page}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / f"docs/{page}.md").read_text() == module.render(), f"run: python docs/write_{page}.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_that_a_page_names_exists(page: Path) -> None:
    root = get_command(app)
    for line in re.findall(r"^    (?:\$ )?iris .*$", page.read_text(), flags=re.M):
        words = line.split("#")[0].split()[1:]
        command = root
        while hasattr(command, "commands"):
            assert words[0] in command.commands, line
            command = command.commands[words.pop(0)]
        passed_on = root.commands[command.name].params if line.split()[1] == "slurm" else []  # type: ignore[attr-defined]
        known = {name for p in (*command.params, *passed_on) for name in (*p.opts, *p.secondary_opts)} | {"--help"}
        for word in words:
            if re.match(r"-[-a-z]", word):
                assert word.split("=")[0] in known, line


def readme_tree() -> set[Path]:
    """What the README's tree names: paths from the root, and whether each is a folder."""
    tree = re.search(r"## The tree\n(.*?)\n## ", (ROOT / "README.md").read_text(), flags=re.S)
    assert tree is not None
    inside, named = Path(), set()
    for line in tree[1].strip("\n").splitlines():
        indent, name = re.match(r"( +)(\S+)", line).groups()  # type: ignore[union-attr]
        inside = Path(name) if len(indent) == 4 else inside
        path = Path(name) if len(indent) == 4 else inside / name
        assert name.endswith("/") == (ROOT / path).is_dir(), f"{line}: is it a folder?"
        named.add(path)
    return named


def test_the_tree_in_the_readme_is_the_tree() -> None:
    named = readme_tree()
    assert [path for path in named if not (ROOT / path).exists()] == []
    inner = {path.relative_to(ROOT) for path in (ROOT / "iris_cli").iterdir() if not path.name.startswith("_")}
    missing = {path for path in inner if path.suffix in ("", ".py")} - named
    assert not missing, f"the README's tree lacks {sorted(map(str, missing))}"


def test_no_module_is_above_400_lines() -> None:
    modules = [path for folder in ("iris_cli", "shards", "docs", "tests") for path in (ROOT / folder).rglob("*.py")]
    long = {str(path): lines for path in modules if (lines := len(path.read_text().splitlines())) > 400}
    assert long == {}
