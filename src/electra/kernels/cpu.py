"""The kernels for a CPU, in C++: compiled when they are first asked for, and kept beside what torch.compile keeps."""

import ctypes
from functools import cache
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor

from electra.kernels.cache import hash_machine, set_compile_caches

SOURCES = ("numbers.cpp", "attention/cpu.cpp", "gelu/cpu.cpp")  # compiled as one
DTYPE_NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
# Inductor turns off what its own code has no use for; PyTorch's headers are full of warnings.
FLAGS = ("-ftree-loop-vectorize", "-ffp-contract=fast", "-w")


@cache
def load_library() -> ctypes.CDLL:
    """All of them. Needs a C++ compiler, as torch.compile does.

    What was compiled before is taken where source, flags, processor, compiler and torch are the same.

    Raises:
        UserError: as ``cache.set_compile_caches``.
    """
    set_compile_caches()
    from torch._inductor.codecache import CppCodeCache

    here = files("electra.kernels")
    texts = (here.joinpath(name).read_text(encoding="utf-8") for name in SOURCES)
    source = "\n".join([f"// for {hash_machine()}", *texts])  # the flags say "this processor", not which
    return CppCodeCache.load(source, device_type="cpu", extra_flags=FLAGS)


@cache
def supports_dtype(number: torch.dtype) -> bool:
    """Whether there are kernels for this type of number on this CPU."""
    return number in DTYPE_NAMES and bool(getattr(load_library(), f"supports_{DTYPE_NAMES[number]}")())


def call_kernel(name: str, number: torch.dtype, *given: Tensor | int | ctypes.Array) -> None:
    """Run a kernel for a type of number. It gets tensors and arrays by their addresses, and numbers of 64 bits."""
    getattr(load_library(), f"{name}_{DTYPE_NAMES[number]}")(*map(to_ctypes, given))


def to_ctypes(given: Tensor | int | ctypes.Array) -> Any:
    """As ctypes hands it over."""
    if isinstance(given, Tensor):
        return ctypes.c_void_p(given.data_ptr())
    return ctypes.c_int64(given) if isinstance(given, int) else given
