"""`iris shards`: what it prints, and its exit codes."""

import json

import numpy as np
import pytest
import webdataset

from iris_cli.config.grid import grid_preset
from iris_cli.config.toml import to_dict
from shards.writer import ArraySchema, Sample, SetPlan, write_set
from tests.commands.errors import error_of
from tests.shards.damage import flip

GRID = grid_preset("tiny")
SCHEMA = (
    ArraySchema("observation", GRID.observation_shape, "float32", {"unit": "K", "quantity": "temperature"}),
    ArraySchema("density", GRID.density_shape, "float32", {"unit": "solMass / pc3", "quantity": "density"}),
)


def make(number):
    """A bright corner shows which way up an image is drawn: near, high longitude, high velocity."""
    observation, density = (np.zeros(schema.shape, np.float32) for schema in SCHEMA)
    observation[0, 40:, 48:] = 10.0
    density[0, :16, 40:] = 5.0
    return Sample(f"g{number}", f"g{number}", {"observation": observation, "density": density}, {"view_deg": 30.0})


@pytest.fixture
def folder(tmp_path):
    plan = SetPlan({"train": range(5), "validation": range(10, 12)}, samples_per_shard=2)
    write_set(tmp_path / "set", plan, make, schema=SCHEMA, attributes={"grid": to_dict(GRID), "litter": False})
    return tmp_path / "set"


def test_info_prints_counts_units_and_grid_for_people_and_machines(iris, folder):
    ran = iris("shards", "info", folder)
    assert ran.code == 0
    for word in ("train", "validation", "solMass / pc3", "1 x 64 x 64", "grid.v_max_km_s: 200.0", "fingerprint"):
        assert word in ran.out
    result = json.loads(iris("shards", "info", folder, "--json").out)
    size = sum(p.stat().st_size for p in folder.glob("train-*.tar"))
    assert result["splits"]["train"] == {"samples": 5, "shards": 3, "bytes": size}
    assert result["arrays"]["density"]["attributes"]["unit"] == "solMass / pc3"
    assert result["statistics"]["train"]["observation"]["max"] == 10.0
    assert result["attributes"]["grid"]["v_steps"] == 64


def test_a_sound_set_verifies_with_code_0_and_a_damaged_one_with_code_3(iris, folder, tiny_shards):
    ran = iris("shards", "verify", folder)
    assert (ran.code, ran.out.strip()) == (0, f"{folder}: sound; 7 samples in 4 shards, 286.7 kB")
    flip(folder / "train-000001.tar", 3000, 0)
    ran = iris("shards", "verify", folder)
    assert ran.code == 3
    assert "fault: train-000001.tar: sample g2: observation: its checksum does not match" in ran.out
    result = json.loads(iris("shards", "verify", folder, "--json").out)
    assert not result["sound"] and result["faults"][0]["key"] == "g2"
    ran = iris("shards", "verify", tiny_shards, folder, "-q")
    assert ran.code == 3 and f"{tiny_shards}: sound" in ran.out and "NOT SOUND" in ran.out


def test_repair_rebuilds_a_lost_index(iris, folder):
    before = (folder / "index.json").read_bytes()
    (folder / "index.json").unlink()
    assert iris("shards", "info", folder).code == 1
    assert iris("shards", "verify", folder).code == 3
    ran = iris("shards", "verify", folder, "--repair")
    assert ran.code == 0
    assert "7 samples in 4 shards" in ran.err
    assert (folder / "index.json").read_bytes() == before


def test_a_preview_in_the_terminal_has_north_where_the_figure_has_it(iris, folder):
    """Longitude grows to the left, velocity and distance upwards."""
    ran = iris("shards", "preview", folder, "--split", "validation", "-n", 1)
    lines = ran.out.splitlines()
    assert lines[0] == "g11 (validation)"
    assert lines[2].startswith("@@@@")  # high longitude and velocity: top left
    assert lines[2].rstrip() == lines[2].split(" ")[0]  # no near gas at the top
    low = next(line for line in reversed(lines) if "@" in line)
    assert low.index("@") > len(lines[2].rstrip())  # the density panel's near edge is at the bottom
    assert "view_deg: 30.0" in ran.out


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_preview_becomes_a_figure(iris, folder, tmp_path, suffix):
    out = tmp_path / f"pair.{suffix}"
    assert iris("shards", "preview", folder, "--key", "g3", "--out", out).out.strip() == str(out)
    assert out.stat().st_size > 5_000


def test_merge_writes_the_index_and_names_missing_shards(iris, folder):
    (folder / "index.json").unlink()
    ran = iris("shards", "merge", folder)
    assert (ran.code, ran.out.strip()) == (0, f"7 samples in 4 shards: {folder}")
    (folder / "train-000002.json").unlink()
    ran = iris("shards", "merge", folder)
    assert "lacks 1 finished shard: train-000002.tar hint: build them with `--resume`" in error_of(ran, 1)


def test_tars_of_another_program_can_be_indexed_and_previewed(iris, tmp_path):
    with webdataset.TarWriter(str(tmp_path / "val-0000.tar")) as writer:
        for i in range(3):
            writer.write({"__key__": f"{i}", "image.npy": np.full((20, 30), i, np.float32), "cls": b"1"})
    ran = iris("shards", "index", tmp_path)
    assert ran.code == 0
    assert "val" in ran.out
    assert iris("shards", "verify", tmp_path).code == 0
    assert "@@@@" in iris("shards", "preview", tmp_path, "-n", 2).out
    assert iris("shards", "preview", tmp_path, "-o", tmp_path / "a.png").code == 0


@pytest.mark.parametrize("command", ["info", "verify", "preview", "merge", "index"])
def test_a_folder_that_is_missing_or_empty_is_one_line(iris, tmp_path, command):
    for folder in (tmp_path / "nowhere", tmp_path):
        ran = iris("shards", command, folder)
        assert ran.code == (3 if (command, folder) == ("verify", tmp_path) else 1)
        assert len((ran.err if ran.code == 1 else ran.out).strip().splitlines()) <= 3
        assert str(folder) in ran.err + ran.out


def test_a_key_asked_of_a_set_without_samples_is_an_error_in_one_line(iris, tmp_path):
    write_set(tmp_path / "set", SetPlan({"train": range(2)}), no_sample, schema=SCHEMA, attributes={})
    ran = iris("shards", "preview", tmp_path / "set", "--key", "g1")
    assert ran.code == 1 and "has no sample 'g1'" in ran.err and "it holds no sample" in ran.err


def no_sample(number):
    raise ValueError("no")
