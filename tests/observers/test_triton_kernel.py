"""The GPU's kernel without a GPU: interpreted beside torch's operations, and compiled for the GPUs that there are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from iris_cli.observers import device as device_module
from iris_cli.observers.backends import torch_windows
from iris_cli.observers.emission import Cells
from iris_cli.observers.transfer import REGIMES
from tests.observers.interpreted_cases import CASES, LINEAR

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def interpreted() -> dict[str, dict[str, float]]:
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.observers.interpreted_kernel"],
        cwd=ROOT,
        env=environment,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", [case for case in CASES if case not in LINEAR])
def test_the_kernel_sees_what_torchs_operations_see(case: str, interpreted: dict[str, dict[str, float]]) -> None:
    told = interpreted[case]
    assert told["calls"] == 1 and told["peak_K"] > 0.01
    assert told["off"] < 1e-5


@pytest.mark.parametrize("case", LINEAR)
def test_sums_of_profiles_are_not_the_kernels_business(case: str, interpreted: dict[str, dict[str, float]]) -> None:
    assert interpreted[case]["calls"] == 0


def test_its_trial_on_a_gpu_finds_any_number_of_a_cell_that_is_a_hundredth_off(
    interpreted: dict[str, dict[str, float]],
) -> None:
    trial = interpreted["trial"]
    assert trial.pop("as it is") < 1e-5
    assert len(trial) == 12 and min(trial.values()) > 5e-4


def test_the_masers_it_saw_were_masers(interpreted: dict[str, dict[str, float]]) -> None:
    assert interpreted["masers"]["peak_K"] > 1.001 * interpreted["masers clipped"]["peak_K"]


@pytest.mark.parametrize("capability", [70, 80, 90])
def test_the_kernel_compiles_for_a_gpu_that_is_not_there(
    capability: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    triton = pytest.importorskip("triton", "3.3")
    from triton.backends.compiler import GPUTarget

    from iris_cli.observers.backends import triton_kernel as gk

    kinds = {"records": "*fp32", "spectrum": "*fp32", "cells": "i32", "total": "i32", "BLOCK": "constexpr"}
    source = triton.compiler.ASTSource(fn=gk.march, signature=kinds, constexprs={"BLOCK": gk.BLOCK})
    built = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": gk.WARPS})
    assert f".target sm_{capability}" in built.asm["ptx"] and built.asm["cubin"]


# --- who does the march -----------------------------------------------------------------------------------------------


class OnGpu(torch.Tensor):
    """A tensor that says that it is on a GPU."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device("cuda", 0)


def matter(like: torch.Tensor) -> Cells:
    return Cells(*(like for _ in Cells.__dataclass_fields__))


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_windows, "kernel_runs", lambda _: True)


def test_the_kernel_takes_thick_float32_on_a_gpu_without_gradients_and_nothing_else(kernel: None) -> None:
    there = torch.ones(2, 3).as_subclass(OnGpu)
    thick = REGIMES["thick"]
    assert torch_windows.kernel_suits(matter(there), thick)
    assert not torch_windows.kernel_suits(matter(torch.ones(2, 3)), thick)
    assert not torch_windows.kernel_suits(matter(torch.ones(2, 3).double().as_subclass(OnGpu)), thick)
    assert not any(torch_windows.kernel_suits(matter(there), REGIMES[name]) for name in ("thin", "selective"))
    wanted = torch.ones(2, 3).as_subclass(OnGpu).requires_grad_()
    assert not torch_windows.kernel_suits(matter(wanted), thick)
    with torch.no_grad():
        assert torch_windows.kernel_suits(matter(wanted), thick)


@pytest.fixture
def not_yet_tried() -> None:
    device_module.kernel_runs.cache_clear()
    device_module.kernel_trouble.cache_clear()


def test_without_triton_there_is_no_kernel_and_no_word(
    not_yet_tried: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(device_module, "find_spec", lambda _: None)
    assert not device_module.kernel_runs(torch.device("cuda", 0))
    assert capsys.readouterr().err == ""


def test_a_kernel_that_cannot_be_built_is_told_of_once_and_left_alone(
    not_yet_tried: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu_kernel = pytest.importorskip("iris_cli.observers.backends.triton_kernel")

    def failing(_: torch.device) -> None:
        raise RuntimeError("Failed to find C compiler.\nmore of it")

    monkeypatch.setattr(gpu_kernel, "try_out", failing)
    assert not device_module.kernel_runs(torch.device("cuda", 0))
    assert not device_module.kernel_runs(torch.device("cuda", 0))
    told = capsys.readouterr().err
    assert told.count("Failed to find C compiler") == 1 and "more of it" not in told
