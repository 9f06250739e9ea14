"""Import of checkpoints of the paper's code: the same function in native units and directions."""

import json
from pathlib import Path

import pytest
import torch

from iris_cli.config.grid import GRID_PRESETS, Grid
from iris_cli.errors import DataError, UsageError
from iris_cli.reverter.reverter import Reverter
from iris_cli.training.checkpoint import load
from iris_cli.training.paper_checkpoint import ImportOptions, import_checkpoint
from tests.telescope import sky
from tests.telescope.runs import GRID
from tests.training.makers import write_pairs

#: One SI unit in the file's units: a density of 1e-19 kg/m^3, a temperature of 5 K are 1 there.
UNITS = {"density": 1e19, "temperature": 0.2, "intensity": 3.0, "v_density": 1e6}


def state(size=32, seed=3):
    """A state dict as the paper's code saves it, with running statistics that are not the initial ones."""
    reverter = Reverter(size, "temperature", seed=seed, network="paper")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _ in range(3):
            reverter.train()(torch.rand(8, 1, size, size, generator=generator))
    weights = {k: v.clone() for k, v in reverter.state_dict().items() if k not in UNITS}
    return {**weights, **{name: torch.tensor(value) for name, value in UNITS.items()}}


@pytest.fixture
def file(tmp_path):
    torch.save(state(), tmp_path / "chp_17.pt")
    return tmp_path / "chp_17.pt"


def original():
    """The network of the file, in its own units, with velocities towards the observer."""
    reverter = Reverter(32, "temperature", network="paper")
    reverter.load_state_dict({**state(), **{n: torch.tensor(v, dtype=torch.float64) for n, v in UNITS.items()}})
    return reverter.eval()


@pytest.mark.parametrize("towards", [True, False])
@pytest.mark.parametrize("turn_over", [True, False])
def test_the_imported_network_is_the_same_function(file, tmp_path, towards, turn_over):
    import_checkpoint(file, tmp_path / "imported.pt", ImportOptions(GRID, "temperature", "mean", towards, turn_over))
    imported = load(tmp_path / "imported.pt").make_reverter()
    kelvin = 4.0 * torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(9))
    in_file_units = UNITS["temperature"] * kelvin.flip([-1] * towards + [-2] * turn_over)
    with torch.no_grad():
        expected = original()(in_file_units) / UNITS["density"] / 6.7682e-20  # M_sun / pc^3
        expected = expected.flip([-1] * turn_over)
        torch.testing.assert_close(imported(kelvin), expected, rtol=1e-3, atol=1e-5 * float(expected.max()))
    assert float(expected.max()) > 0


def test_a_run_folder_can_be_tested_and_used_for_reverting(iris, file, tmp_path):
    (tmp_path / "grid.toml").write_text("[grid]\n" + "".join(f"{k} = {v}\n" for k, v in vars(GRID).items()))
    ran = iris("import-checkpoint", file, tmp_path / "run", "--config", tmp_path / "grid.toml", "--json")
    assert "iris import-checkpoint" in (tmp_path / "run" / "commands.jsonl").read_text()
    assert ran.code == 0, ran.err
    made = json.loads(ran.out)
    assert made["epoch"] == 17 and made["options"]["velocity_towards"]
    assert made["units_per_SI"]["density"] == pytest.approx(1e19)
    shards = write_pairs(tmp_path / "shards", {"test": range(6)}, grid=GRID, quantity="temperature")
    report = iris("test", tmp_path / "run", shards, "--json", "-q")
    assert report.code == 0, report.err
    assert json.loads(report.out)["pairs"] == 6
    sky.cube(tmp_path / "cube.fits")
    reverted = iris("revert", tmp_path / "run", tmp_path / "cube.fits", "-o", tmp_path / "map.fits")
    assert reverted.code == 0, reverted.err
    assert "its training set is not known" in reverted.err
    again = iris("import-checkpoint", file, tmp_path / "run", "--config", tmp_path / "grid.toml")
    assert again.code == 2 and "--overwrite" in again.err


@pytest.mark.parametrize("norms_last", [False, True])
def test_prefixes_places_and_names_of_attention_may_differ(tmp_path, norms_last):
    names = {"norm_in": "first_norm", "norm_out": "second_norm", "attention": "multi_head"}
    renamed = {}
    for key, value in sorted(state().items(), key=lambda item: norms_last and ".norm_" in item[0]):
        for old, new in names.items():
            key = key.replace(f"_4_attention.{old}", f"_3_attention.{new}")
        renamed[key if key in UNITS else f"module.{key}"] = value
    assert any("_3_attention.first_norm" in key for key in renamed)
    models = []
    for weights in (renamed, state()):
        torch.save(weights, tmp_path / "file.pt")
        import_checkpoint(tmp_path / "file.pt", tmp_path / "imported.pt", ImportOptions(GRID), overwrite=True)
        models.append(load(tmp_path / "imported.pt").model)
    torch.testing.assert_close(models[0], dict(models[1]))


def _without(key):
    return {k: v for k, v in state().items() if k != key}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: {**state(), "encoder._1_7_magic.weight": torch.zeros(2)}, "unknown: encoder._1_7_magic.weight"),
        (lambda: _without("decoder._2_1_transpose_convolution.bias"), "missing: decoder._2_1_transpose"),
        (lambda: {**state(), "encoder._1_1_convolution.weight": torch.zeros(3, 1, 4, 4)}, "(3, 1, 4, 4), not"),
        (lambda: state(64), "not a reverter for 32 pixels"),
        (lambda: _without("density"), "no unit of density"),
        (lambda: {**state(), "temperature": torch.tensor(-1.0)}, "unit of temperature"),
        (lambda: {**state(), "density": torch.tensor(1e-19)}, "value of one SI unit"),
        (lambda: [1, 2], "not a state dict"),
        (lambda: {"a": "text"}, "not tensors"),
    ],
)
def test_other_files_are_refused_without_output(tmp_path, content, message):
    torch.save(content(), tmp_path / "chp_1.pt")
    with pytest.raises((DataError, UsageError)) as caught:
        import_checkpoint(tmp_path / "chp_1.pt", tmp_path / "run", ImportOptions(GRID))
    assert message in caught.value.message + caught.value.hint
    assert not (tmp_path / "run").exists()


class Payload:
    """Code in a pickle."""

    def __reduce__(self):
        return Path.touch, (Path("/tmp/iris-was-here"),)


def test_code_in_a_pickle_is_never_run(tmp_path):
    torch.save({"encoder": Payload()}, tmp_path / "chp_1.pt")
    with pytest.raises(DataError, match="not a complete state dict"):
        import_checkpoint(tmp_path / "chp_1.pt", tmp_path / "run", ImportOptions(GRID))
    assert not Path("/tmp/iris-was-here").exists()


def test_the_command_needs_the_grid_and_refuses_native_checkpoints(iris, file, tmp_path):
    ran = iris("import-checkpoint", file, tmp_path / "run")
    assert ran.code == 2 and "--preset" in ran.err
    ran = iris("import-checkpoint", file, tmp_path / "run", "--preset", "tiny")
    assert ran.code == 1 and "not a reverter for 64 pixels" in ran.err
    import_checkpoint(file, tmp_path / "imported.pt", ImportOptions(GRID))
    ran = iris("import-checkpoint", tmp_path / "imported.pt", tmp_path / "run", "--preset", "tiny")
    assert ran.code == 2 and "already" in ran.err


def test_the_size_of_the_paper_is_imported(tmp_path):
    weights = {k: v for k, v in Reverter(512, "temperature", network="paper").state_dict().items() if k not in UNITS}
    torch.save({**weights, **{n: torch.tensor(v) for n, v in UNITS.items()}}, tmp_path / "chp_31.pt")
    made = import_checkpoint(tmp_path / "chp_31.pt", tmp_path / "imported.pt", ImportOptions(Grid()))
    assert made.parameters == 14_339_641 and made.options.grid.lon_steps == GRID_PRESETS["paper"].lon_steps
