"""How a module is computed: compiled or not, by its kernels or their readable twins, keeping or recomputing."""

import os
import shutil
import sys
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import nn

from electra.engine.parallel import Precision, resolve_precision
from electra.errors import UserError
from electra.kernels import Kernels, cpu
from electra.kernels.cache import set_compile_caches
from electra.model.encoder import LayeredEncoder, compile_layer_by_layer
from electra.model.twins import set_kernels

Compile = Literal["auto", "never"]

COMPILING = "compiling at the first step: a minute or two, once; what comes of it is kept"
NO_COMPILER = "uncompiled, several times slower: no C++ compiler (Debian: apt-get install g++), or, on a GPU, no Triton"


def prepare_module(
    module: nn.Module, compile: Compile, recomputes: bool, precision: Precision, device: torch.device
) -> Any:
    """The module as the loop calls it. ``recomputes``: its layers keep nothing but their inputs for the backward pass.

    Raises:
        UserError: nothing in it can recompute.
    """
    if recomputes:
        check_can_recompute(module)
    for encoder in find_encoders(module):
        encoder.recomputes = recomputes
    set_kernels(module, choose_kernels(compile, precision, device))
    if will_compile(compile, device):
        compile_layer_by_layer(module)
    return compile_if_possible(module, compile, device)


def choose_kernels(compile: Compile, precision: Precision, device: torch.device) -> Kernels:
    """Whose kernels run: those of the device, where there is what they are compiled by. On a CPU that cannot take the
    products' type of number as they want it, none."""
    if not will_compile(compile, device):
        return ""
    set_compile_caches()
    if device.type == "cuda":
        return "cuda"
    return "cpu" if cpu.supports_dtype(getattr(torch, resolve_precision(precision, device))) else ""


def announce_compiling(compile: Compile, device: torch.device) -> None:
    """What the first step takes long for, or what all of them do."""
    if compile == "auto":
        print(COMPILING if will_compile(compile, device) else NO_COMPILER, file=sys.stderr)


def compile_if_possible(function: Any, compile: Compile, device: torch.device) -> Any:
    """A function or module as the loop calls it: compiled where that is wanted and possible."""
    if not will_compile(compile, device):
        return function
    set_compile_caches()
    # A layer's code is compiled for each of its kinds: by tower, by window, by the phases' lengths. Beyond the limit it
    # would run uncompiled.
    torch._dynamo.config.recompile_limit = 64
    # The backward pass writes products of elements anew (GELU's and attention's, where no kernel has them), beside the
    # gradients that read the same numbers, in place of keeping them: less memory for about 1 % of the time (log.md).
    torch._functorch.config.ban_recompute_materialized_backward = False
    # Kernels for a CPU are written for so many threads, and the cache does not ask how many, unless an option says it.
    options: dict[str, Any] = {"cpp.threads": torch.get_num_threads()}
    return torch.compile(function, dynamic=False, options=options)


def will_compile(compile: Compile, device: torch.device) -> bool:
    """Whether that is wanted, and torch.compile has what it needs: Triton on a GPU, a C++ compiler on a CPU."""
    if compile == "never":
        return False
    if device.type == "cuda":
        return find_spec("triton") is not None
    return any(map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++")))


def find_encoders(module: nn.Module) -> list[LayeredEncoder]:
    """Those of ours in a module."""
    return [part for part in module.modules() if isinstance(part, LayeredEncoder)]


def check_can_recompute(module: nn.Module) -> None:
    """Raise ``UserError`` for a module without an encoder of ours."""
    if not find_encoders(module):
        raise UserError("engine.activation_checkpointing: only for encoders of electra, not for other model classes")
