"""What is compiled, and what is printed if nothing can be."""

import shutil

import pytest
import torch
from torch import nn

from compositions import build, objective
from electra.engine.compiling import NO_COMPILER, announce_compiling, choose_kernels, prepare_module
from electra.errors import UserError
from electra.kernels import cpu
from electra.model.encoder import LayeredEncoder
from electra.model.twins import KernelModule

CPU = torch.device("cpu")


def test_without_a_compiler_it_runs_uncompiled_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    pretrainer = build(objective("electra", "classic"))
    assert prepare_module(pretrainer, "auto", False, "float32", CPU) is pretrainer
    announce_compiling("auto", CPU)
    assert capsys.readouterr().err.strip() == NO_COMPILER


def test_uncompiled_as_asked_for_says_nothing(capsys: pytest.CaptureFixture) -> None:
    pretrainer = build(objective("electra", "classic"))
    assert prepare_module(pretrainer, "never", False, "float32", CPU) is pretrainer
    announce_compiling("never", CPU)
    assert not capsys.readouterr().err


def test_layers_recompute_where_that_is_asked_for() -> None:
    pretrainer = build(objective("electra", "classic"))
    for recompute in (True, False):
        prepare_module(pretrainer, "never", recompute, "float32", CPU)
        assert {part.recomputes for part in pretrainer.modules() if isinstance(part, LayeredEncoder)} == {recompute}


def test_what_cannot_recompute_is_refused() -> None:
    with pytest.raises(UserError, match="activation_checkpointing: only for encoders of electra"):
        prepare_module(nn.Linear(2, 2), "never", True, "float32", CPU)


@pytest.mark.compiled
def test_a_cpus_kernels_run_where_they_are_for_its_numbers() -> None:
    pretrainer = build(objective("electra", "classic"))
    prepare_module(pretrainer, "auto", False, "bfloat16", CPU)
    expected = "cpu" if cpu.supports_dtype(torch.bfloat16) else ""
    assert {part.kernels for part in pretrainer.modules() if isinstance(part, KernelModule)} == {expected}
    prepare_module(pretrainer, "never", False, "bfloat16", CPU)
    assert {part.kernels for part in pretrainer.modules() if isinstance(part, KernelModule)} == {""}


@pytest.mark.compiled
def test_kernels_alone_are_a_cpus_without_torch_compile() -> None:
    pretrainer = build(objective("electra", "classic"))
    assert prepare_module(pretrainer, "kernels", False, "float32", CPU) is pretrainer
    expected = "cpu" if cpu.supports_dtype(torch.float32) else ""
    assert {part.kernels for part in pretrainer.modules() if isinstance(part, KernelModule)} == {expected}
    assert choose_kernels("kernels", "float32", torch.device("cuda")) == ""
