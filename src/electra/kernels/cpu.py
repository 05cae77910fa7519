"""The kernels for a CPU, in C++: compiled at their first use, and kept in the same folder as torch.compile's code."""

import ctypes
from functools import cache
from importlib.resources import files

import torch
from torch import Tensor

from electra.kernels.cache import hash_machine, set_compile_caches

SOURCES = ("numbers.cpp", "attention/cpu.cpp", "gelu/cpu.cpp")  # compiled as one
DTYPE_NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
# Inductor turns off two optimizations that its own code does not need; PyTorch's headers are full of warnings.
FLAGS = ("-ftree-loop-vectorize", "-ffp-contract=fast", "-w")


@cache
def load_library() -> ctypes.CDLL:
    """The library with all kernels. Needs a C++ compiler, as torch.compile does. It is compiled once for the same
    source, flags, processor, compiler and torch.

    Raises:
        UserError: the folder for compiled code that the user chose is not theirs alone.
    """
    set_compile_caches()
    from torch._inductor.codecache import CppCodeCache

    folder = files("electra.kernels")
    texts = (folder.joinpath(name).read_text(encoding="utf-8") for name in SOURCES)
    source = "\n".join([f"// for {hash_machine()}", *texts])  # the flags only say "this processor"
    return CppCodeCache.load(source, device_type="cpu", extra_flags=FLAGS)


@cache
def supports_dtype(dtype: torch.dtype) -> bool:
    """Whether this CPU has what the kernels for this number type need."""
    return dtype in DTYPE_NAMES and bool(getattr(load_library(), f"supports_{DTYPE_NAMES[dtype]}")())


def call_kernel(name: str, dtype: torch.dtype, *arguments: Tensor | int | ctypes.Array) -> None:
    """Run a kernel's version for a number type. Tensors and arrays are passed by address, integers as 64 bits."""
    getattr(load_library(), f"{name}_{DTYPE_NAMES[dtype]}")(*map(to_ctypes, arguments))


def to_ctypes(argument: Tensor | int | ctypes.Array) -> ctypes.c_void_p | ctypes.c_int64 | ctypes.Array:
    """An argument of ``call_kernel`` as ctypes takes it."""
    if isinstance(argument, Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    return ctypes.c_int64(argument) if isinstance(argument, int) else argument
