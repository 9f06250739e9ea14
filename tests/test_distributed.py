"""Messages between ranks, and where their group ends."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from iris_cli import signals
from iris_cli.distributed import Control, World, _exit_code, launch, pick_device, world
from iris_cli.errors import DataError, IrisError, UsageError
from iris_cli.ranks import rank_info
from tests.training.makers import Other


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """A process group of one."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1)
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


def control_of(here: World) -> Control:
    assert here.control is not None
    return here.control


@pytest.mark.usefixtures("alone")
def test_messages_of_any_shape_and_kind_arrive_in_place() -> None:
    with world("cpu") as here:
        for shape in ((), (1,), (3,), (2, 5), (0,), (1, 7, 3)):
            values = torch.rand(shape, dtype=torch.float64)
            same = values.clone()
            assert here.sum(values) is values and torch.equal(values, same)
        assert here.max(-3) == -3
        assert here.max_tensor(torch.tensor(2.5)).item() == 2.5
        assert here.sum(torch.rand(4, 6, dtype=torch.float64).t()).shape == (6, 4)


@pytest.mark.usefixtures("alone")
def test_messages_travel_in_a_few_tensors_that_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    sent, send = set(), dist.all_reduce

    def noted(tensor: torch.Tensor, **how: Any) -> Any:
        sent.add(id(tensor))
        return send(tensor, **how)

    monkeypatch.setattr(dist, "all_reduce", noted)
    with world("cpu") as here:
        for count in range(1, 65):
            here.sum(torch.zeros(count, dtype=torch.float64))
            here.max(count)
        assert len(sent) == 8  # 1, 2, 4 … 64 numbers, and one whole number
        assert sent == {id(sheet) for sheet in control_of(here)._sheets.values()}


@pytest.mark.usefixtures("alone")
def test_the_group_of_messages_ends_with_the_world_and_before_what_it_sent() -> None:
    with world("cpu") as here:
        control = control_of(here)
        here.sum(torch.ones(3, dtype=torch.float64))
        group, sheet = weakref.ref(control._group), next(iter(control._sheets.values()))
        sheets = weakref.ref(sheet)
        del sheet
    assert group() is None and sheets() is not None
    assert not dist.is_initialized()
    control.close()  # again is no harm


@pytest.mark.usefixtures("alone")
def test_a_group_ends_although_the_error_of_a_message_is_kept() -> None:
    def message(group: Any) -> None:
        held = group
        raise RuntimeError("gloo: connection closed by peer", len(str(held)))

    with pytest.raises(IrisError, match="rank 0 has lost another rank") as kept, world("cpu") as here:
        group = weakref.ref(control_of(here)._group)
        message(group())
    assert kept.value.__cause__ is not None and group() is None


@pytest.mark.usefixtures("alone")
def test_a_caller_s_own_process_group_is_left_to_the_caller() -> None:
    with world("cpu", startup=False, cleanup=False) as here:
        group = weakref.ref(control_of(here)._group)
    assert group() is None and dist.is_initialized()


# --- a world of two, whose other rank always answers the same ---------------------------------------------------------


def test_what_rank_0_does_alone_ends_all_ranks_as_it_ended() -> None:
    def refuse() -> None:
        raise DataError("no")

    def fail() -> None:
        raise OSError(28, "No space left on device")

    done: list[int] = []
    World(0, 2, control=Other(0)).on_rank_0(lambda: done.append(0))
    World(1, 2, control=Other(0)).on_rank_0(lambda: done.append(1))
    assert done == [0]
    for action, error, code in ((refuse, DataError, DataError.exit_code), (fail, OSError, 1)):
        others = Other(0)
        with pytest.raises(error):
            World(0, 2, control=others).on_rank_0(action)
        assert [values.tolist() for values in others.heard] == [[code]]
    with pytest.raises(SystemExit) as ended:
        World(1, 2, control=Other(2)).on_rank_0(refuse)
    assert ended.value.code == 2


def test_running_statistics_become_their_mean_over_the_ranks_and_counts_stay() -> None:
    norm = torch.nn.BatchNorm2d(3)
    norm.running_mean.copy_(torch.tensor([1.0, 2.0, 3.0]))  # type: ignore[union-attr]
    World(1, 2, control=Other(5.0)).average_buffers(norm)
    assert norm.running_mean.tolist() == [3.0, 3.5, 4.0]  # type: ignore[union-attr]
    assert norm.running_var.tolist() == [3.0, 3.0, 3.0]  # type: ignore[union-attr]
    assert norm.num_batches_tracked.item() == 0  # type: ignore[union-attr]
    World().average_buffers(norm)
    assert norm.running_mean.tolist() == [3.0, 3.5, 4.0]  # type: ignore[union-attr]


def test_sums_and_maxima_are_over_all_ranks() -> None:
    here = World(0, 2, control=Other(2.0))
    assert here.sum(torch.tensor([1.0, 5.0], dtype=torch.float64)).tolist() == [3.0, 7.0]
    assert (here.max(1), here.max(7)) == (2, 7)
    assert here.max_tensor(torch.tensor([1.0, 5.0])).tolist() == [2.0, 5.0]
    assert here.is_main and not World(1, 2).is_main


# --- who are we -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"RANK": "1"}, "WORLD_SIZE = None is no number"),
        ({"WORLD_SIZE": "2"}, "RANK = None is no number"),
        ({"RANK": "2", "WORLD_SIZE": "2", "MASTER_ADDR": "x"}, "RANK = 2 is not below WORLD_SIZE = 2"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "without MASTER_ADDR"),
        ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "-1"}, "LOCAL_RANK = '-1' is no number"),
    ],
)
def test_a_seat_that_cannot_be_is_told(variables: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        rank_info(variables)
    assert "unset" in str(caught.value.hint)


def test_a_seat_alone_needs_no_meeting_point_and_no_place_on_its_machine() -> None:
    alone = rank_info({"RANK": "0", "WORLD_SIZE": "1"})
    assert (alone.rank, alone.size, alone.local) == (0, 1, 0)


def test_ranks_of_a_machine_share_out_its_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [pick_device("auto", local) for local in range(3)] == [torch.device("cuda", k) for k in (0, 1, 0)]
    assert pick_device("cuda", 1) == torch.device("cuda", 1)
    assert pick_device("cpu", 1) == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto", 1) == torch.device("cpu")
    with pytest.raises(UsageError, match="torch finds none"):
        pick_device("cuda", 0)
    with pytest.raises(UsageError, match="unknown device 'gpu'"):
        pick_device("gpu", 0)


def test_ranks_meet_at_a_port_of_their_own_unless_it_is_said_where(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise two runs on one machine would meet each other."""
    asked: list[Any] = []
    monkeypatch.setattr("torch.distributed.run.run", asked.append)
    there = ["--nnodes=2", "--rdzv-endpoint=node1:29400", "--rdzv-backend=c10d"]
    assert [launch(2, ["train", "pairs"], more) for more in ((), ["--max-restarts=0"], there)] == [0, 0, 0]
    assert [words.standalone for words in asked] == [True, True, False]
    assert {(words.nproc_per_node, words.module, words.training_script) for words in asked} == {("2", True, "iris_cli")}
    assert all(words.training_script_args == ["train", "pairs"] for words in asked)
    assert asked[2].rdzv_endpoint == "node1:29400"


def test_the_rank_that_failed_of_itself_gives_the_launcher_its_code() -> None:
    """Those below zero were ended by a signal, because another had failed."""
    assert _exit_code([-15, 3, -15]) == 3
    assert _exit_code([-9, -15]) == 1


def test_ranks_leave_notes_where_their_launcher_looks_and_tell_what_all_have_met_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(signals.NOTES_FOLDER, raising=False)
    signals.write_note(signals.STOPPED)
    assert [signals.reported_by_another_rank("no data") for _ in range(2)] == [False, False]
    monkeypatch.setenv(signals.NOTES_FOLDER, str(tmp_path))
    signals.write_note(signals.STOPPED)
    assert [path.name for path in tmp_path.iterdir()] == [signals.STOPPED]
    assert [signals.reported_by_another_rank(words) for words in ("no data", "no data", "no disk")] == [
        False,
        True,
        False,
    ]
    monkeypatch.setenv(signals.NOTES_FOLDER, str(tmp_path / "gone"))
    assert not signals.reported_by_another_rank("no data")
