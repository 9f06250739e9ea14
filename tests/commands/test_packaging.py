"""The packaged network, the container's definition and the conda recipe are those of this package."""

import hashlib
import re
import subprocess
import tomllib
import zipfile

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load

from iris_cli.config.cube import CubeConfig
from iris_cli.telescope.revert import revert
from iris_cli.training.model_file import PACKAGED
from tests.commands.pages import ROOT
from tests.telescope import sky

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
#: Of the weights; statistics are kept in float64.
FLOATS = {torch.float32, torch.float64}
FOLDER = ROOT / "docs/packaging"
#: Names in conda-forge that differ from those of PyPI.
IN_CONDA = {"matplotlib": "matplotlib-base", "torch": "pytorch", "xxhash": "python-xxhash"}


def test_the_page_of_the_packaged_network_and_its_digest_are_those_of_the_file():
    digest = hashlib.sha256(PACKAGED.read_bytes()).hexdigest()
    assert PACKAGED.with_name(f"{PACKAGED.name}.sha256").read_text() == f"{digest}  {PACKAGED.name}\n"
    page = (ROOT / "docs/packaged_network.md").read_text()
    assert digest in page
    with zipfile.ZipFile(PACKAGED) as archive:
        card = archive.read("card.md").decode().partition("## Use")[0]
        weights = {n: load(archive.read(n)) for n in archive.namelist() if n.endswith(".safetensors")}
    assert all(line in page for line in card.splitlines()[1:] if line.startswith("|"))
    assert {"run/samples/weights.safetensors", "run/distances/weights.safetensors"} < weights.keys()
    assert {t.dtype for tensors in weights.values() for t in tensors.values() if t.is_floating_point()} <= FLOATS
    assert PACKAGED.stat().st_size < 20e6


def test_the_packaged_network_gives_a_map_with_samples_and_distances(tmp_path):
    made = revert(
        [],
        [sky.cube(tmp_path / "cube.fits", cards={"RESTFRQ": 87.925238e9})],
        samples=4,
        clouds="none",
        config=CubeConfig(min_coverage=0.01),
    )
    assert made.samples is not None and made.samples.shape == (4, 64, 64) and np.isfinite(made.samples).all()
    assert made.near_far is not None and "held-out galaxies" in made.record.near_far
    assert made.record.provenance.trained_lines_GHz == {"HNCO 4_0_4-3_0_3": pytest.approx(87.925, abs=1e-3)}


def sections():
    _, *parts = re.split(r"^%(\w+)\n", (FOLDER / "iris.def").read_text(), flags=re.M)
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize("section", ["post", "environment", "runscript", "test"])
def test_the_scripts_of_the_container_are_for_a_shell(section):
    subprocess.run(["sh", "-n"], input=sections()[section], text=True, check=True)


def test_the_container_has_the_files_of_which_the_package_is_built():
    copied = [line.split() for line in sections()["files"].splitlines() if line]
    assert [to for _, to in copied] == [f"/opt/iris/{name}" for name, _ in copied]
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    needed = {*wheel, "pyproject.toml", PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]}
    assert {name for name, _ in copied} == needed and all((ROOT / name).exists() for name in needed)


def test_the_recipe_has_the_version_and_the_dependencies_of_the_package():
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
