"""Modules with their initial weights: made once, without the draws that PyTorch's own start would waste."""

from torch import nn


def dense(inputs: int, outputs: int, std: float, bias: bool = True) -> nn.Linear:
    """A linear map with weights from a normal distribution cut off at two standard deviations, and biases of zero."""
    linear = empty(inputs, outputs, bias)
    truncated_normal(linear, std)
    return linear


def glorot(inputs: int, outputs: int) -> nn.Linear:
    """A linear map with Glorot-uniform weights, the default of the original code's framework, and biases of zero."""
    linear = empty(inputs, outputs, bias=True)
    nn.init.xavier_uniform_(linear.weight)
    return linear


def table(rows: int, size: int, std: float) -> nn.Embedding:
    """A look-up table with the weights of ``dense``."""
    embedding = nn.utils.skip_init(nn.Embedding, rows, size)
    truncated_normal(embedding, std)
    return embedding


def truncated_normal(module: nn.Linear | nn.Embedding, std: float) -> None:
    nn.init.trunc_normal_(module.weight, 0.0, std, -2 * std, 2 * std)


def empty(inputs: int, outputs: int, bias: bool) -> nn.Linear:
    linear = nn.utils.skip_init(nn.Linear, inputs, outputs, bias=bias)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear
