"""Arithmetic that is worth code of its own: kernels for a CPU (C++) and a GPU (Triton), and their readable twins."""

from typing import Literal

Kernels = Literal["", "cpu", "cuda"]  # the device whose kernels are used; "": the readable twins
