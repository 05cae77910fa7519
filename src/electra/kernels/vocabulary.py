"""Over the vocabulary: the loss of the right token, and a sample of the softmax with an addressed random number.

Both want float32 logits: in bfloat16 a sampler collapses onto the top tokens.

A sample by the Gumbel trick takes V random numbers a position. Inverting the distribution function in two levels takes
three: the vocabulary is cut into blocks of about √V tokens; two numbers (46 bits) pick a block by its share of the
probability, and a third one a token inside it. What is drawn follows the float32 softmax; nothing is cut off or
rounded away, a token of probability 10⁻⁹ comes once in 10⁹ draws.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from electra.kernels.random import STEPS, uniform


def cross_entropy(logits: Float[Tensor, "picked vocab"], targets: Int[Tensor, " picked"]) -> Float[Tensor, " picked"]:
    """−log softmax(logits)[target] in nats, float32, for each position; ``logits`` float32, ``targets`` int64.

    The right logit is picked by comparison. Compiled, that makes the gradient softmax − 1[target] one pass, where that
    of an indexed read is scattered into a second array of the logits' size.
    """
    vocabulary = torch.arange(logits.shape[1], device=logits.device)
    right = torch.where(vocabulary == targets[:, None], logits, 0.0).sum(1)
    return logits.logsumexp(1) - right


@torch.no_grad()
def sample(
    logits: Float[Tensor, "picked vocab"], keys: Int[Tensor, " picked"], temperature: float | Float[Tensor, ""] = 1.0
) -> Int[Tensor, " picked"]:
    """One token for each position, int64, from softmax(logits / temperature); no gradient passes.

    ``logits`` are float32; a token at −∞ is never drawn. ``keys`` int32 [picked] name the random numbers.

    Raises:
        ValueError: the logits are not float32.
    """
    if logits.dtype != torch.float32:
        raise ValueError(f"sampling needs float32 logits, got {logits.dtype}: rounded ones change the distribution")
    if isinstance(temperature, Tensor) or temperature != 1.0:
        logits = logits / temperature
    vocabulary = logits.shape[1]
    width = max(1, round(vocabulary**0.5))
    numbers = uniform(keys, 3).double()
    masses = _block_masses(logits, width)
    block = _invert(masses.double(), (numbers[:, 0] - 0.5 / STEPS) + numbers[:, 1] / STEPS)

    at = block[:, None] * width + torch.arange(width, device=logits.device)
    inside = logits.gather(1, at.clamp(max=vocabulary - 1)).masked_fill(at >= vocabulary, float("-inf"))
    return block * width + _invert((inside - inside.amax(1, keepdim=True)).double().exp(), numbers[:, 2])


def _invert(weights: Float[Tensor, "picked choices"], numbers: Float[Tensor, " picked"]) -> Int[Tensor, " picked"]:
    """The first choice at which the running sum of ``weights`` passes the share ``numbers`` of the whole; float64.

    A number below 1 times the whole stays below it in float64, so a choice of weight 0 is never made.
    """
    sums = weights.cumsum(1)
    return (sums <= numbers[:, None] * sums[:, -1:]).sum(1).clamp(max=weights.shape[1] - 1)


def _block_masses(logits: Float[Tensor, "picked vocab"], width: int) -> Float[Tensor, "picked blocks"]:
    """For each block of ``width`` tokens Σ exp(logit − largest logit of the position); the last may be shorter."""
    whole = logits.shape[1] // width * width
    shifted = logits - logits.amax(1, keepdim=True)
    masses = shifted[:, :whole].unflatten(1, (-1, width)).exp().sum(2)
    if whole == logits.shape[1]:
        return masses
    return torch.cat([masses, shifted[:, whole:].exp().sum(1, keepdim=True)], dim=1)
