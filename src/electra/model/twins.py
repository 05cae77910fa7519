"""Parts of a model whose arithmetic is there twice: as a kernel for a GPU, in Triton, and as its readable twin."""

from torch import nn


class Twinned(nn.Module):
    """``fused``: its kernel runs in place of the readable twin. The values are the same within rounding."""

    fused = False


def fuse(module: nn.Module, wanted: bool) -> None:
    """Say to the parts of a module which of the two runs."""
    for part in module.modules():
        if isinstance(part, Twinned):
            part.fused = wanted
