"""Collectives, process groups, and the launcher."""

import logging
import os
import signal
import weakref
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import pytest
import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.elastic.rendezvous import RendezvousError

from iris_cli import distributed, signals
from iris_cli.distributed import World, launch, pick_device, world
from iris_cli.errors import EXIT_INTERRUPTED, EXIT_REQUEUE, DataError, IrisError, UsageError
from iris_cli.ranks import rank_info
from tests.training.makers import OtherRank


@pytest.fixture
def single_group(tmp_path):
    """A process group of one."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1)
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


def group_of(here):
    assert here.group is not None
    return here.group


@pytest.mark.usefixtures("single_group")
def test_collectives_work_in_place_for_any_shape():
    with world("cpu") as here:
        for shape in ((), (1,), (3,), (2, 5), (0,), (1, 7, 3)):
            values = torch.rand(shape, dtype=torch.float64)
            same = values.clone()
            assert here.sum(values) is values and torch.equal(values, same)
        assert here.max(-3) == -3
        assert here.max_tensor(torch.tensor(2.5)).item() == 2.5
        assert here.sum(torch.rand(4, 6, dtype=torch.float64).t()).shape == (6, 4)


@pytest.mark.usefixtures("single_group")
def test_collectives_use_a_few_buffers_that_stay_alive(monkeypatch):
    sent, send = set(), dist.all_reduce

    def recorded(tensor, **how):
        sent.add(id(tensor))
        return send(tensor, **how)

    monkeypatch.setattr(dist, "all_reduce", recorded)
    with world("cpu") as here:
        for count in range(1, 65):
            here.sum(torch.zeros(count, dtype=torch.float64))
            here.max(count)
        assert len(sent) == 8  # 1, 2, 4 … 64 floats, and one integer
        assert sent == {id(buffer) for buffer in group_of(here)._buffers.values()}


@pytest.mark.usefixtures("single_group")
def test_the_group_is_destroyed_with_the_world_and_before_its_buffers(monkeypatch):
    monkeypatch.setattr(distributed._joined, "here", True)
    with world("cpu") as here:
        group = group_of(here)
        here.sum(torch.ones(3, dtype=torch.float64))
        process_group, buffer = weakref.ref(group._group), weakref.ref(next(iter(group._buffers.values())))
    assert process_group() is None and buffer() is not None
    assert not dist.is_initialized()
    group.close()  # may be called twice


@pytest.mark.usefixtures("single_group")
def test_the_group_is_destroyed_although_the_error_of_a_collective_is_kept():
    def collective(group):
        reference = group
        raise RuntimeError("gloo: connection closed by peer", len(str(reference)))

    with pytest.raises(IrisError, match="rank 0 has lost another rank") as kept, world("cpu") as here:
        group = weakref.ref(group_of(here)._group)
        collective(group())
    assert kept.value.__cause__ is not None and group() is None


@pytest.mark.usefixtures("single_group")
def test_a_process_group_of_the_caller_is_not_destroyed():
    with world("cpu") as here:
        group = weakref.ref(group_of(here)._group)
    assert group() is None and dist.is_initialized()


# --- two ranks, one of them simulated ---------------------------------------------------------------------------------


def test_a_failure_of_rank_0_ends_all_ranks_with_its_exit_code():
    refuse, fail = Mock(side_effect=DataError("no")), Mock(side_effect=OSError(28, "No space left on device"))
    done = []
    World(0, 2, group=OtherRank(0)).on_rank_0(lambda: done.append(0))
    World(1, 2, group=OtherRank(0)).on_rank_0(lambda: done.append(1))
    assert done == [0]
    for action, error, code in ((refuse, DataError, DataError.exit_code), (fail, OSError, 1)):
        other = OtherRank(0)
        with pytest.raises(error):
            World(0, 2, group=other).on_rank_0(action)
        assert [values.tolist() for values in other.sent] == [[code]]
    with pytest.raises(SystemExit) as ended:
        World(1, 2, group=OtherRank(2)).on_rank_0(refuse)
    assert ended.value.code == 2


def test_running_statistics_are_averaged_over_the_ranks_and_counts_are_not():
    norm = torch.nn.BatchNorm2d(3)
    norm.running_mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
    World(1, 2, group=OtherRank(5.0)).average_buffers(norm)
    assert norm.running_mean.tolist() == [3.0, 3.5, 4.0]
    assert norm.running_var.tolist() == [3.0, 3.0, 3.0]
    assert norm.num_batches_tracked.item() == 0
    World().average_buffers(norm)
    assert norm.running_mean.tolist() == [3.0, 3.5, 4.0]


def test_sums_and_maxima_are_over_all_ranks():
    here = World(0, 2, group=OtherRank(2.0))
    assert here.sum(torch.tensor([1.0, 5.0], dtype=torch.float64)).tolist() == [3.0, 7.0]
    assert (here.max(1), here.max(7)) == (2, 7)
    assert here.max_tensor(torch.tensor([1.0, 5.0])).tolist() == [2.0, 5.0]
    assert here.is_main and not World(1, 2).is_main


# --- ranks and devices ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"RANK": "1"}, "WORLD_SIZE = None is not a number"),
        ({"WORLD_SIZE": "2"}, "RANK = None is not a number"),
        ({"RANK": "2", "WORLD_SIZE": "2", "MASTER_ADDR": "x"}, "RANK = 2 is not below WORLD_SIZE = 2"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "without MASTER_ADDR"),
        ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "-1"}, "LOCAL_RANK = '-1' is not a number"),
    ],
)
def test_inconsistent_variables_are_refused(variables, says):
    info = rank_info({"RANK": "0", "WORLD_SIZE": "1"})  # needs neither master address nor local rank
    assert (info.rank, info.size, info.local) == (0, 1, 0)
    with pytest.raises(UsageError, match=says) as caught:
        rank_info(variables)
    assert "unset" in str(caught.value.hint)


def test_the_ranks_of_a_machine_are_distributed_over_its_gpus(monkeypatch):
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


def test_runs_use_a_port_of_their_own_unless_a_rendezvous_is_given(monkeypatch):
    """Otherwise two runs on one machine would join each other."""
    calls = []
    monkeypatch.setattr("torch.distributed.run.run", calls.append)
    rendezvous = ["--nnodes=2", "--rdzv-endpoint=node1:29400", "--rdzv-backend=c10d"]
    assert [launch(2, ["train", "pairs"], more) for more in ((), ["--max-restarts=0"], rendezvous)] == [0, 0, 0]
    assert [call.standalone for call in calls] == [True, True, False]
    assert {(call.nproc_per_node, call.module, call.training_script) for call in calls} == {("2", True, "iris_cli")}
    assert all(call.training_script_args == ["train", "pairs"] for call in calls)
    assert calls[2].rdzv_endpoint == "node1:29400"


def _failed(*codes):
    return ChildFailedError("ranks", {k: ProcessFailure(k, 1, code, "") for k, code in enumerate(codes)})


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (None, 0),
        (_failed(-signal.SIGTERM, 3, -signal.SIGTERM), 3),  # negative codes are of ranks ended because of another
        (_failed(-signal.SIGKILL, -signal.SIGTERM), 1),
        (SignalException("", signal.SIGTERM), EXIT_REQUEUE),
        (SignalException("", signal.SIGINT), EXIT_INTERRUPTED),
    ],
)
def test_a_launch_restores_handlers_environment_and_logging_however_it_ends(monkeypatch, raised, code):
    def torchrun(options):
        os.environ["LEFT_BY_TORCHRUN"] = "1"
        logging.getLogger().addHandler(logging.NullHandler())
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        assert signal.getsignal(signal.SIGUSR1) is not signal.SIG_DFL
        if raised is not None:
            raise raised

    def state():
        root, handlers = logging.getLogger(), [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1)]
        return handlers, dict(os.environ), root.manager.disable, root.level, root.handlers[:]

    monkeypatch.setattr("torch.distributed.run.run", torchrun)
    before = state()
    assert launch(2, ["train", "pairs"]) == code
    assert state() == before


def test_errors_of_torchrun_itself_are_reported(monkeypatch):
    for raised, error, message in (
        (ValueError("no"), UsageError, "torchrun refuses"),
        (RendezvousError("No. Way"), IrisError, "could not join: No$"),
    ):
        monkeypatch.setattr("torch.distributed.run.run", Mock(side_effect=raised))
        with pytest.raises(error, match=message):
            launch(2, ["train", "pairs"], ["--rdzv-endpoint=nowhere"])


@pytest.mark.parametrize(("note", "code"), [(signals.STOPPED, EXIT_REQUEUE), (signals.BEGUN, EXIT_INTERRUPTED)])
def test_after_a_signal_notes_decide_the_exit_code(monkeypatch, note, code):
    def torchrun(options):
        signals.write_note(note)
        signal.raise_signal(signal.SIGUSR1)

    monkeypatch.setattr("torch.distributed.run.run", torchrun)
    assert launch(2, ["train", "pairs"]) == code


def test_ranks_can_be_launched_from_any_thread(monkeypatch):
    """Only the main thread may set signal handlers."""
    monkeypatch.setattr("torch.distributed.run.run", Mock())
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(launch, 2, ["train", "pairs"]).result() == 0


def test_ranks_leave_notes_and_report_a_common_error_once(tmp_path, monkeypatch):
    monkeypatch.delenv(signals.NOTES_FOLDER, raising=False)
    signals.write_note(signals.STOPPED)
    assert [signals.reported_by_another_rank("no data") for _ in range(2)] == [False, False]
    monkeypatch.setenv(signals.NOTES_FOLDER, str(tmp_path))
    signals.write_note(signals.STOPPED)
    assert [path.name for path in tmp_path.iterdir()] == [signals.STOPPED]
    reported = [signals.reported_by_another_rank(words) for words in ("no data", "no data", "no disk")]
    assert reported == [False, True, False]
    monkeypatch.setenv(signals.NOTES_FOLDER, str(tmp_path / "gone"))
    assert not signals.reported_by_another_rank("no data")
