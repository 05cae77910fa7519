"""The kernels for a CPU, in C++: compiled when they are first asked for, and kept beside what torch.compile keeps."""

import ctypes
from functools import cache
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor

from electra.kernels.cache import keep_to_ourselves, machine

SOURCES = ("numbers.cpp", "attention/cpu.cpp", "gelu/cpu.cpp")  # compiled as one
NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
# Inductor turns off what its own code has no use for; PyTorch's headers are full of warnings.
FLAGS = ("-ftree-loop-vectorize", "-ffp-contract=fast", "-w")


@cache
def library() -> ctypes.CDLL:
    """All of them. Needs a C++ compiler, as torch.compile does.

    What was compiled before is taken where source, flags, processor, compiler and torch are the same.

    Raises:
        UserError: as ``cache.keep_to_ourselves``.
    """
    keep_to_ourselves()
    from torch._inductor.codecache import CppCodeCache

    here = files("electra.kernels")
    texts = (here.joinpath(name).read_text(encoding="utf-8") for name in SOURCES)
    source = "\n".join([f"// for {machine()}", *texts])  # the flags say "this processor", not which
    return CppCodeCache.load(source, device_type="cpu", extra_flags=FLAGS)


@cache
def supports(number: torch.dtype) -> bool:
    """Whether there are kernels for this type of number on this CPU."""
    return number in NAMES and bool(getattr(library(), f"supports_{NAMES[number]}")())


def call(name: str, number: torch.dtype, *given: Tensor | int | ctypes.Array) -> None:
    """Run a kernel for a type of number. It gets tensors and arrays by their addresses, and numbers of 64 bits."""
    getattr(library(), f"{name}_{NAMES[number]}")(*map(argument, given))


def argument(given: Tensor | int | ctypes.Array) -> Any:
    """As ctypes hands it over."""
    if isinstance(given, Tensor):
        return ctypes.c_void_p(given.data_ptr())
    return ctypes.c_int64(given) if isinstance(given, int) else given
