"""Arithmetic that is worth its own code: readable twins, and kernels for a CPU (C++) and a GPU (Triton)."""

from typing import Literal

Kernels = Literal["", "cpu", "cuda"]  # whose run; none: the readable twins
