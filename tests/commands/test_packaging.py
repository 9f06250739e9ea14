"""The container's definition and the conda recipe are those of this package."""

from __future__ import annotations

import re
import subprocess
import tomllib

import pytest
import yaml

from tests.commands.pages import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDER = ROOT / "docs/packaging"
#: Names in conda-forge that differ from those of PyPI.
IN_CONDA = {"matplotlib": "matplotlib-base", "torch": "pytorch", "xxhash": "python-xxhash"}


def sections() -> dict[str, str]:
    _, *parts = re.split(r"^%(\w+)\n", (FOLDER / "iris.def").read_text(), flags=re.M)
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize("section", ["post", "environment", "runscript", "test"])
def test_the_scripts_of_the_container_are_for_a_shell(section: str) -> None:
    subprocess.run(["sh", "-n"], input=sections()[section], text=True, check=True)


def test_the_container_has_the_files_of_which_the_package_is_built() -> None:
    copied = [line.split() for line in sections()["files"].splitlines() if line]
    assert [to for _, to in copied] == [f"/opt/iris/{name}" for name, _ in copied]
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    needed = {*wheel, "pyproject.toml", PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]}
    assert {name for name, _ in copied} == needed and all((ROOT / name).exists() for name in needed)


def test_the_recipe_has_the_version_and_the_dependencies_of_the_package() -> None:
    recipe, project = yaml.safe_load((FOLDER / "recipe.yaml").read_text()), PROJECT["project"]
    context, needs = recipe["context"], recipe["requirements"]
    assert (recipe["package"]["name"], context["version"]) == (project["name"], project["version"])
    assert (
        project["requires-python"] == f">={context['python_min']}" and recipe["about"]["license"] == project["license"]
    )
    (backend,) = PROJECT["build-system"]["requires"]
    assert needs["host"][1:] == ["pip", backend.replace(">=", " >=")]
    named = [re.fullmatch(r"([\w-]+)(.*)", dependency) for dependency in project["dependencies"]]
    assert needs["run"][1:] == [f"{IN_CONDA.get(m[1], m[1])} {m[2]}" for m in named if m]
    assert (FOLDER / recipe["source"]["path"] / recipe["about"]["license_file"]).resolve() == ROOT / "LICENSE"
