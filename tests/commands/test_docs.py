"""The docs agree with the program."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from iris_cli import errors
from iris_cli.app import program

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", ["cli", "configuration"])
def test_a_reference_page_is_up_to_date(page):
    spec = importlib.util.spec_from_file_location(f"write_{page}", ROOT / f"docs/write_{page}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / f"docs/{page}.md").read_text() == module.render(), f"run: python docs/write_{page}.py"


def test_links_of_the_readme_lead_somewhere():
    """Those of the other pages are checked where the documentation is built."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / "README.md").read_text()):
        if "://" not in target:
            assert (ROOT / target).is_file(), target


def test_ci_runs_the_test_command_of_the_readme():
    (command,) = re.findall(r"^    (.* && \.venv/bin/nox)$", (ROOT / "README.md").read_text(), flags=re.M)
    assert command in (ROOT / ".ci/run").read_text().splitlines()


def spans(page):
    """Inline code, outside fenced blocks, and indented commands without their comments."""
    text = page.read_text()
    commands = re.findall(r"^    (?:\$ )?(iris [^#\n]*)", text, flags=re.M)
    return commands + re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))


def options_of(command):
    """Of a command, or of a group with all its commands."""
    own = {name for p in command.params for name in (*p.opts, *p.secondary_opts)} | {"--help"}
    return own.union(*map(options_of, getattr(command, "commands", {}).values()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_that_a_page_names_exists(page):
    root = program()
    for span in spans(page):
        words = [word.strip("[](),;") for word in span.split()]
        command: Any = root
        if words and words[0] == "iris":
            if "decisions" not in page.parts and re.fullmatch("[a-z]+", "".join(words[1:2])):
                assert words[1] in command.commands, span
            for word in words[1:]:
                command = getattr(command, "commands", {}).get(word, command)
        elif not re.match(r"--[a-z]", span):
            continue
        known = options_of(command) | (options_of(root) if "batch" in words else {"--version"})
        for word in words:
            if re.match(r"--[a-z]", word) and '"' not in span:  # words in quotes are torchrun's
                assert word.split("=")[0] in known, span


def test_each_message_on_the_errors_page_is_in_the_program():
    said = "".join(path.read_text() for folder in ("iris_cli", "shards") for path in (ROOT / folder).rglob("*.py"))
    said = re.sub(r'"\s*\n\s*(f|rf|r)?"', "", said)  # a message over several lines
    listed = re.findall(r"^\| (`.*?) \|", (ROOT / "docs/errors.md").read_text(), flags=re.M)
    assert len(listed) > 20
    for message in re.findall(r"`([^`]+)`", " ".join(listed)):
        if not message.startswith("iris "):
            for part in re.split(r"[…;:,?()]|\b[NM]\b|0\.00 %", message):
                assert part.strip(" '") in said, f"{message}: {part}"


def test_the_errors_page_explains_every_exit_code():
    page = (ROOT / "docs/errors.md").read_text()
    codes = [value for name, value in vars(errors).items() if name.startswith("EXIT_")]
    assert [code for code in codes if f"| {code} |" not in page] == []


def readme_tree():
    """The paths, from the root, that the annotated tree in the README names."""
    tree = re.search(r"## The tree\n(.*?)\n## ", (ROOT / "README.md").read_text(), flags=re.S)
    assert tree is not None
    inside, named = Path(), set()
    for line in re.findall(r"^ {4}.*$", tree[1], flags=re.M):
        indent, name = re.match(r"( +)(\S+)", line).groups()
        inside = Path(name) if len(indent) == 4 else inside
        path = Path(name) if len(indent) == 4 else inside / name
        assert name.endswith("/") == (ROOT / path).is_dir(), f"{line}: is it a folder?"
        named.add(path)
    return named


def test_the_tree_in_the_readme_is_the_tree():
    named = readme_tree()
    assert [path for path in named if not (ROOT / path).exists()] == []
    files = [path.relative_to(ROOT) for top in (ROOT, ROOT / "iris_cli") for path in top.iterdir()]
    code = {path for path in files if path.suffix == ".py" or any((ROOT / path).glob("*.py"))}  # not a user's demo/
    assert sorted(str(path) for path in code - named if not path.name.startswith(("_", "."))) == []
