"""How a module is computed: compiled or not, by kernels or their readable twins, with layers recomputed or not."""

import os
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import torch
from torch import nn

from electra.engine.parallel import Precision, resolve_precision
from electra.errors import UserError
from electra.kernels import Kernels, cpu
from electra.kernels.cache import set_compile_caches

Compile = Literal["auto", "kernels", "never"]
Function = TypeVar("Function", bound=Callable)

COMPILING = "compiling at the first step: a minute or two, once; what comes of it is kept"
NO_COMPILER = "uncompiled, several times slower: no C++ compiler (Debian: apt-get install g++), or, on a GPU, no Triton"


@runtime_checkable
class Preparable(Protocol):
    """A part of a module that can be computed in more than one way: an encoder of electra, a layer, a head.

    Parts of other libraries' model classes are not: they are computed as they are.
    """

    def prepare(self, kernels: Kernels, recompute: bool, compiled: bool) -> None:
        """Use these kernels from now on; with ``recompute`` keep only the layers' inputs for the backward pass;
        ``compiled`` says that torch.compile will take the module. What does not concern this part is ignored."""


def prepare_module(
    module: nn.Module, compile: Compile, recompute: bool, precision: Precision, device: torch.device
) -> nn.Module:
    """Prepare the parts of ``module`` and compile it if asked and possible; return what the loop is to call.

    Raises:
        UserError: ``recompute``, and no part can.
    """
    if recompute:
        check_can_recompute(module)
    prepare_parts(module, choose_kernels(compile, precision, device), recompute, will_compile(compile, device))
    return compile_if_possible(module, compile, device)


def prepare_parts(module: nn.Module, kernels: Kernels, recompute: bool = False, compiled: bool = False) -> None:
    """Call ``Preparable.prepare`` of every part of a module that has it."""
    for part in find_preparable_parts(module):
        part.prepare(kernels, recompute, compiled)


def find_preparable_parts(module: nn.Module) -> list[Preparable]:
    """The parts of a module that can be prepared; none in those of other libraries' classes."""
    return [part for part in module.modules() if isinstance(part, Preparable)]


def check_can_recompute(module: nn.Module) -> None:
    """Raise ``UserError`` for a module without an encoder of electra."""
    if not find_preparable_parts(module):
        raise UserError("engine.activation_checkpointing: only for encoders of electra, not for other model classes")


def choose_kernels(compile: Compile, precision: Precision, device: torch.device) -> Kernels:
    """Which kernels to use: the device's own if a compiler is available, else none, which means the readable twins.
    None also on a CPU whose instructions do not suit the kernels in this number type."""
    if compile == "never" or not can_compile(device):
        return ""
    set_compile_caches()
    if device.type == "cuda":
        return "cuda" if compile == "auto" else ""
    return "cpu" if cpu.supports_dtype(getattr(torch, resolve_precision(precision, device))) else ""


def announce_compiling(compile: Compile, device: torch.device) -> None:
    """Print why the first step will take long, or, without a compiler, why every step will. Nothing for "never"."""
    if compile == "auto":
        print(COMPILING if will_compile(compile, device) else NO_COMPILER, file=sys.stderr)


def compile_if_possible(function: Function, compile: Compile, device: torch.device) -> Function:
    """``torch.compile`` of a function or module if asked and possible, else the function itself."""
    if not will_compile(compile, device):
        return function
    set_compile_caches()
    # A layer is compiled once for each of its kinds: by tower, by window, by the phases' lengths. Beyond this limit it
    # would run uncompiled.
    torch._dynamo.config.recompile_limit = 64
    # The backward pass computes elementwise products again (GELU's and attention's, where no kernel has them), in the
    # same pass as the gradients that read the same numbers, instead of keeping them: less memory for about 1 % of the
    # time (log.md).
    torch._functorch.config.ban_recompute_materialized_backward = False
    # Inductor writes a CPU's kernels for a fixed number of threads, but its cache's key has that number only if this
    # option is set.
    options: dict[str, Any] = {"cpp.threads": torch.get_num_threads()}
    compiled: Any = torch.compile(function, dynamic=False, options=options)
    return compiled


def will_compile(compile: Compile, device: torch.device) -> bool:
    """Whether compiling is asked for and torch.compile has what it needs."""
    return compile == "auto" and can_compile(device)


def can_compile(device: torch.device) -> bool:
    """Whether there is what torch.compile and our kernels need: Triton on a GPU, a C++ compiler on a CPU."""
    if device.type == "cuda":
        return find_spec("triton") is not None
    return any(map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++")))
