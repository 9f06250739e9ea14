"""The Triton kernel without a GPU: interpreted and compared with torch operations, and compiled for real GPUs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from iris_cli.observers.backends import torch_windows
from iris_cli.observers.emission import Cells
from iris_cli.observers.transfer import REGIMES

ROOT = Path(__file__).resolve().parents[2]


def test_the_interpreted_kernel_agrees_with_torch_operations():
    pytest.importorskip("triton")
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/observers/interpreted.py"]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(words, cwd=ROOT, env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("capability", [70, 80, 90])
def test_the_kernel_compiles_for_each_gpu_generation(capability, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    triton = pytest.importorskip("triton", "3.3")
    from triton.backends.compiler import GPUTarget

    from iris_cli.observers.backends import triton_kernel as gk

    kinds = {"records": "*fp32", "spectrum": "*fp32", "cells": "i32", "total": "i32", "BLOCK": "constexpr"}
    source = triton.compiler.ASTSource(fn=gk.march, signature=kinds, constexprs={"BLOCK": gk.BLOCK})
    built = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": gk.WARPS})
    assert f".target sm_{capability}" in built.asm["ptx"] and built.asm["cubin"]


# --- when the kernel is used ------------------------------------------------------------------------------------------


class OnGpu(torch.Tensor):
    """A tensor whose device is a GPU."""

    @property
    def device(self):
        return torch.device("cuda", 0)


def matter(like):
    return Cells(*(like for _ in Cells.__dataclass_fields__))


def test_the_kernel_is_used_only_for_thick_float32_on_a_gpu_without_gradients(monkeypatch):
    monkeypatch.setattr(torch_windows, "triton_kernel_works", lambda _: True)
    there = torch.ones(2, 3).as_subclass(OnGpu)
    applies, thick = torch_windows.triton_kernel_applies, REGIMES["thick"]
    assert applies(matter(there), thick)
    assert not applies(matter(torch.ones(2, 3)), thick)
    assert not applies(matter(torch.ones(2, 3).double().as_subclass(OnGpu)), thick)
    assert not any(applies(matter(there), REGIMES[name]) for name in ("thin", "selective"))
    wanted = torch.ones(2, 3).as_subclass(OnGpu).requires_grad_()
    assert not applies(matter(wanted), thick)
    with torch.no_grad():
        assert applies(matter(wanted), thick)


@pytest.fixture
def unchecked():
    torch_windows.triton_kernel_works.cache_clear()
    torch_windows.triton_kernel_error.cache_clear()


def test_without_triton_there_is_no_kernel_and_no_warning(unchecked, monkeypatch, capsys):
    monkeypatch.setattr(torch_windows, "find_spec", lambda _: None)
    assert not torch_windows.triton_kernel_works(torch.device("cuda", 0))
    assert capsys.readouterr().err == ""


def test_a_kernel_that_fails_to_compile_is_reported_once_and_not_used(unchecked, monkeypatch, capsys):
    triton_kernel = pytest.importorskip("iris_cli.observers.backends.triton_kernel")

    def failing(_):
        raise RuntimeError("Failed to find C compiler.\nmore of it")

    monkeypatch.setattr(triton_kernel, "check", failing)
    assert not any(torch_windows.triton_kernel_works(torch.device("cuda", 0)) for _ in range(2))
    printed = capsys.readouterr().err
    assert printed.count("Failed to find C compiler") == 1 and "more of it" not in printed
