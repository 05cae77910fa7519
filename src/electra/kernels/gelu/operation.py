"""GELU of a product plus its biases. The CPU's kernel takes one pass forward, and one backward that also sums the
biases' gradient. The readable twin, everywhere else, is fused by torch.compile as well as it can."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from electra.kernels import Kernels, cpu

VECTOR = 32  # numbers that the kernel takes at a time on the CPU with the widest vectors


def gelu(
    x: Float[Tensor, "*shape size"], bias: Float[Tensor, " size"], kernels: Kernels = ""
) -> Float[Tensor, "*shape size"]:
    """GELU(x + bias), with erf, in x's dtype (Hendrycks and Gimpel 2016)."""
    if kernels == "cpu" and len(bias) % VECTOR == 0:
        return apply_gelu(x.contiguous(), bias)
    return F.gelu(x + bias.to(x.dtype))


@torch.library.custom_op("electra::gelu", mutates_args=())
def apply_gelu(x: Tensor, bias: Tensor) -> Tensor:
    """GELU(x + bias) by the kernel; ``x`` contiguous, float32 or bfloat16; ``bias`` float32."""
    out = torch.empty_like(x)
    cpu.call_kernel("gelu_forward", x.dtype, x, bias, out, x.numel() // len(bias), len(bias), torch.get_num_threads())
    return out


@apply_gelu.register_fake
def _fake_gelu(x, bias):
    return torch.empty_like(x)


@torch.library.custom_op("electra::gelu_gradients", mutates_args=())
def gelu_gradients(x: Tensor, bias: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of ``x`` and ``bias``; ``slopes`` is the gradient of the result."""
    of_x, of_bias = torch.empty_like(x), torch.empty_like(bias)
    shape_and_threads = x.numel() // len(bias), len(bias), torch.get_num_threads()
    cpu.call_kernel("gelu_backward", x.dtype, x, bias, slopes, of_x, of_bias, *shape_and_threads)
    return of_x, of_bias


@gelu_gradients.register_fake
def _fake_gelu_gradients(x, bias, slopes):
    return torch.empty_like(x), torch.empty_like(bias)


def _save_for_gelu(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _gelu_backward(ctx, slopes):
    return gelu_gradients(*ctx.saved_tensors, slopes.contiguous())


apply_gelu.register_autograd(_gelu_backward, setup_context=_save_for_gelu)
