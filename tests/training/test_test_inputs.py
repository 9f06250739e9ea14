"""What a test is made on: no pairs and litter that the network has met; and changed inputs, and another family."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from iris_cli.config.train import Noise, TrainConfig
from iris_cli.errors import DataError
from iris_cli.pairs.divide import litter_to_test, pairs_to_test, seen_by_any, split_to_test
from iris_cli.pairs.overlap import Seen, digests
from iris_cli.training.test import MIRRORED, NOISE_ONLY, NORMAL, inputs_of
from iris_cli.training.trained_run import open_members
from tests.training.makers import another_sky, pairs_in, write_pairs


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Two sets without splits that hold something out, and one with a test split."""
    folder, split = tmp_path_factory.mktemp("sets"), {"train": range(8), "test": range(80, 84)}
    splits = {"one": {"all": range(8)}, "other": {"all": range(50, 58)}, "split": split}
    return {name: write_pairs(folder / name, each) for name, each in splits.items()}


def seen_of(trained, validated=None):
    return Seen(pairs_in(trained).marks.known, pairs_in(validated).marks.known if validated else Seen().validated)


def test_a_split_that_was_held_out_is_preferred(sets):
    assert split_to_test([str(sets["split"])], None) == "test"
    assert split_to_test([str(sets["split"])], "train") == "train"
    assert split_to_test([str(sets["one"])], None) == split_to_test([str(sets["one"]), str(sets["split"])], None) == ""


def test_galaxies_of_the_training_are_refused_left_out_or_allowed(sets, tmp_path):
    half = pairs_in(write_pairs(tmp_path / "half", {"all": range(4, 12)}, scale=2.0))  # galaxies 2, 3 of 2 ... 5
    with pytest.raises(DataError, match="was trained on 2 of 4 galaxies") as caught:
        pairs_to_test(half, "", seen_of(sets["one"]), "refuse")
    assert "--overlap leave-out" in caught.value.hint
    assert pairs_to_test(half, "", seen_of(sets["one"]), "leave-out").tolist() == [4, 5, 6, 7]
    assert len(pairs_to_test(half, "", seen_of(sets["one"]), "allow")) == 8
    assert len(pairs_to_test(half, "", seen_of(sets["other"]), "refuse")) == 8
    with pytest.raises(DataError, match="none is left"):
        pairs_to_test(pairs_in(sets["one"]), "", seen_of(sets["one"]), "leave-out")


def test_a_copy_under_other_names_is_recognized_by_its_maps(sets):
    seen = Seen(trained=np.unique(pairs_in(sets["one"]).marks.density))
    with pytest.raises(DataError, match="was trained on 4 of 4 galaxies"):
        pairs_to_test(pairs_in(sets["one"]), "", seen, "refuse")


def test_validation_galaxies_may_be_in_a_test_of_validation_only(sets, capsys):
    pairs, seen = pairs_in(sets["one"]), seen_of(sets["other"], sets["one"])
    with pytest.raises(DataError, match="was validated with 4 of 4 galaxies of the test split"):
        pairs_to_test(pairs, "test", seen, "refuse")
    assert len(pairs_to_test(pairs, "validation", seen, "refuse")) == 8
    assert "selected its best checkpoint" in capsys.readouterr().err


def test_a_network_without_a_record_of_its_training_has_a_warning(sets, trained_run, capsys):
    known = open_members(trained_run)[0].checkpoint
    assert seen_by_any([known.seen, None]) is None and seen_by_any([]) is None
    assert len(pairs_to_test(pairs_in(sets["one"]), "", None, "refuse")) == 8
    assert "may be what the network was trained on" in capsys.readouterr().err


def test_members_of_an_ensemble_are_tested_on_what_none_of_them_has_met(trained_run):
    one = open_members(trained_run)[0].checkpoint
    other = Seen(trained=digests(["x"]))
    both = seen_by_any([one.seen, other])
    assert both and one.seen and set(both.trained) == {*one.seen.trained.tolist(), int(digests(["x"])[0])}


def test_a_checkpoint_keeps_the_galaxies_of_training_and_validation(trained_run, tiny_shards):
    seen = open_members(trained_run)[0].checkpoint.seen
    assert seen is not None
    for split, known in (("train", seen.trained), ("validation", seen.validated)):
        assert np.array_equal(known, pairs_in(tiny_shards, split).marks.known) and len(known)
    assert not np.isin(pairs_in(tiny_shards, "test").marks.known, np.union1d(seen.trained, seen.validated)).any()


def test_test_litter_was_not_met_in_training(tiny_litter):
    hyper, litter = TrainConfig(), pairs_in(tiny_litter)  # 4 images of 2 pieces
    known = np.unique(digests(litter.pieces()[:3]))
    assert litter_to_test(litter, hyper, Seen(litter_trained=known[:2], litter_validated=known[2:])).tolist() == [3]
    assert len(litter_to_test(litter, hyper, Seen())) == 4  # trained without litter
    everything = Seen(litter_trained=np.unique(digests(litter.pieces())))
    with pytest.raises(DataError, match="all 4 images of litter"):
        litter_to_test(litter, hyper, everything)
    assert len(litter_to_test(litter, replace(hyper, overlap="allow"), everything)) == 4
    assert len(litter_to_test(litter, hyper, None)) == 1  # the part for tests


def test_commands_refuse_pairs_that_were_trained_on(iris, trained_run, tiny_shards, sets, tmp_path, monkeypatch):
    refused = iris("test", trained_run, tiny_shards, "--split", "train", "-q")
    assert refused.code == 1 and "was trained on 5 of 5 galaxies of the train split" in " ".join(refused.err.split())
    allowed = iris("test", trained_run, tiny_shards, "--split", "train", "--overlap", "allow", "-q")
    assert allowed.code == 0 and "allowed by --overlap allow" in allowed.err
    monkeypatch.setattr("iris_cli.commands.plot_figures.draw_predictions", lambda *shown, **style: Figure())
    figure = ("plot", "pair", tiny_shards, "--run", trained_run, "-o", tmp_path / "pair.png", "-q")
    assert "warning: the network was trained on the galaxy of" in iris(*figure, "--split", "train").err
    assert "warning" not in iris(*figure).err
    partly = iris("test", trained_run, sets["one"], "-q", "--overlap", "leave-out")
    assert partly.code == 1 and "none is left to test on" in partly.err  # galaxies 0 ... 3 are in both
    unseen = iris("test", trained_run, sets["other"], "-q", "--split", "all")
    assert unseen.code == 0 and "warning" not in unseen.err


def test_every_set_of_a_report_is_checked(trained_run, tiny_shards, sets):
    hyper = replace(TrainConfig(), data=(str(tiny_shards),))
    members = open_members(trained_run)
    assert inputs_of(hyper, members=members).normal.count == 5
    with pytest.raises(DataError, match=r"was trained on 4 of 4 galaxies of .*one"):
        inputs_of(hyper, against=[str(sets["one"])], members=members)


# --- changed inputs, and another family -------------------------------------------------------------------------------


def hyper_of(shards, **changes):
    return replace(TrainConfig(batch_size=3, noise=Noise(sigma_K=0.3), data=(str(shards),)), **changes)


def test_noise_alone_has_no_emission_and_no_litter(tiny_shards, tiny_litter):
    stream = inputs_of(hyper_of(tiny_shards, litter=str(tiny_litter)), stress=True).streams[NOISE_ONLY]
    batch = next(stream.epoch())
    assert abs(batch.observation.mean().item()) < 0.01 < batch.observation.std().item()
    assert batch.density.max() > 1.0  # the truth is still that of the galaxy
    assert next(replace(stream, noise=None).epoch()).observation.abs().max() == 0.0


def test_mirrored_inputs_have_reversed_velocities_and_the_same_truth(tiny_shards):
    inputs = inputs_of(hyper_of(tiny_shards, noise=Noise()), stress=True)
    normal, mirrored = (next(inputs.streams[name].epoch()) for name in (NORMAL, MIRRORED))
    assert torch.equal(mirrored.observation, normal.observation.flip(-1))
    assert torch.equal(mirrored.density, normal.density)


def test_an_axis_that_is_not_symmetric_is_not_mirrored(tmp_path, capfd):
    lopsided = write_pairs(tmp_path / "pairs", {"test": range(4)}, grid=another_sky(v_max_km_s=150.0))
    assert MIRRORED not in inputs_of(hyper_of(lopsided), stress=True).streams
    assert "not symmetric" in capfd.readouterr().err


def test_another_family_is_a_set_of_its_own(tiny_shards, tmp_path):
    other = write_pairs(tmp_path / "family", {"test": range(400, 403), "train": range(4)})
    inputs = inputs_of(hyper_of(tiny_shards), against=[str(other)])
    assert list(inputs.streams) == [NORMAL, "against family"] and inputs.streams["against family"].count == 3
