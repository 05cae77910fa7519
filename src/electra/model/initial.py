"""Modules with their initial weights: made once, without the draws that PyTorch's own start would waste."""

from torch import Tensor, nn
from torch.nn import functional as F


class Linear(nn.Linear):
    """x Wᵀ + b. The biases come after the product, not with it: compiled, they are added where the sum is next read,
    while a CPU's product with biases first writes them to every row of its result.
    """

    def forward(self, input: Tensor) -> Tensor:
        """In the product's number type."""
        product = self.product(input)
        return product if self.bias is None else product + self.bias.to(product.dtype)

    def product(self, input: Tensor) -> Tensor:
        """x Wᵀ, for those who add the biases themselves."""
        return F.linear(input, self.weight)


def dense(inputs: int, outputs: int, std: float, bias: bool = True) -> Linear:
    """A linear map with weights from a normal distribution cut off at two standard deviations, and biases of zero."""
    linear = empty(inputs, outputs, bias)
    truncated_normal(linear, std)
    return linear


def glorot(inputs: int, outputs: int) -> Linear:
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


def empty(inputs: int, outputs: int, bias: bool) -> Linear:
    linear = nn.utils.skip_init(Linear, inputs, outputs, bias=bias)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear
