"""Modules with their initial weights, without first drawing PyTorch's default ones."""

from torch import Tensor, nn
from torch.nn import functional as F


class Dense(nn.Linear):
    """x Wᵀ + b. The biases are added after the product: compiled, that is fused with the next operation, while a CPU's
    product with biases first writes them to every row of its result.
    """

    def forward(self, input: Tensor) -> Tensor:
        """x Wᵀ + b in the product's number type."""
        product = self.product(input)
        return product if self.bias is None else product + self.bias.to(product.dtype)

    def product(self, input: Tensor) -> Tensor:
        """x Wᵀ, for callers that add the biases themselves."""
        return F.linear(input, self.weight)


def build_dense(inputs: int, outputs: int, std: float, bias: bool = True) -> Dense:
    """A linear layer: weights from a normal distribution truncated at two standard deviations, biases 0."""
    linear = build_uninitialized(inputs, outputs, bias)
    init_truncated_normal(linear, std)
    return linear


def build_glorot(inputs: int, outputs: int) -> Dense:
    """A linear layer: Glorot-uniform weights, the default of the original code's framework, biases 0."""
    linear = build_uninitialized(inputs, outputs, bias=True)
    nn.init.xavier_uniform_(linear.weight)
    return linear


def build_table(rows: int, size: int, std: float) -> nn.Embedding:
    """A look-up table with weights from the same truncated normal distribution as ``build_dense``."""
    embedding = nn.utils.skip_init(nn.Embedding, rows, size)
    init_truncated_normal(embedding, std)
    return embedding


def init_truncated_normal(module: nn.Linear | nn.Embedding, std: float) -> None:
    """Draw weights from a normal distribution truncated at two standard deviations."""
    nn.init.trunc_normal_(module.weight, 0.0, std, -2 * std, 2 * std)


def build_uninitialized(inputs: int, outputs: int, bias: bool) -> Dense:
    """A linear layer whose weights are still to be set; biases 0."""
    linear = nn.utils.skip_init(Dense, inputs, outputs, bias=bias)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear
