"""Messages between ranks, and where their group ends."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from iris_cli.errors import IrisError
from iris_cli.training.distributed import Control, World, world


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
        assert here.most(-3) == -3
        assert here.most_of(torch.tensor(2.5)).item() == 2.5
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
            here.most(count)
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
