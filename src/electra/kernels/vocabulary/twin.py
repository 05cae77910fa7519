"""Over the vocabulary: the loss of the right token, and a sample of the softmax with an addressed random number.

Both need float32 logits: in bfloat16 a sampler collapses onto the top tokens.

The Gumbel trick would take V random numbers a position for a sample. Inverting the distribution function in two levels
takes three: the vocabulary is cut into blocks of 128 tokens, about √V; two numbers (46 bits) pick a block by its share
of the probability, and the third a token in it. Samples follow the float32 softmax, and nothing is cut off or rounded
away: a token of probability 10⁻⁹ is drawn once in 10⁹ draws.
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from electra.kernels.random import STEPS, uniform

Temperature = float | Float[Tensor, ""]

UNITS = 2.0**48  # in the largest weight: finer than a number's 46 bits, and the sum of 32,768 such weights has 63 bits
BLOCK_TOKENS = 128  # the kernel for a GPU has the same number, so that both draw the same tokens


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn for each position: from softmax(logits / ``temperature``), by the random numbers of
    ``keys``, int32 [picked]. With ``never_target`` the target is never drawn."""

    keys: Int[Tensor, " picked"]
    temperature: Temperature = 1.0
    never_target: bool = False


@dataclass(frozen=True)
class Score:
    """``losses`` float32 [picked]: −log softmax(logits)[target] in nats. ``likeliest`` and ``samples`` are tokens,
    int64 [picked]; no gradient passes through them."""

    losses: Float[Tensor, " picked"]
    likeliest: Int[Tensor, " picked"]
    samples: Int[Tensor, " picked"] | None = None


@runtime_checkable
class Prediction(Protocol):
    """A distribution over the vocabulary for each of some positions."""

    def score(self, targets: Int[Tensor, " picked"], sampling: Sampling | None = None) -> Score:
        """The losses of the ``targets``, int64, the likeliest tokens and, with ``sampling``, samples."""

    def select(self, positions: Int[Tensor, " some"]) -> "Prediction":
        """The prediction at some of the positions, int64."""

    def with_temperature(self, temperature: Temperature) -> "Prediction":
        """The prediction of the logits divided by a temperature."""


@dataclass(frozen=True)
class WrittenLogits:
    """The ``Prediction`` of float32 ``logits`` [picked, vocab] in memory."""

    logits: Float[Tensor, "picked vocab"]

    def score(self, targets: Int[Tensor, " picked"], sampling: Sampling | None = None) -> Score:
        """The targets' losses, the likeliest tokens and samples, from all logits."""
        logits, samples = self.logits.detach(), None
        if sampling is not None:
            allowed = logits.scatter(1, targets[:, None], float("-inf")) if sampling.never_target else logits
            samples = sample_tokens(allowed, sampling.keys, sampling.temperature)
        return Score(cross_entropy(self.logits, targets), logits.argmax(1), samples)

    def select(self, positions: Int[Tensor, " some"]) -> "WrittenLogits":
        """The logits at some of the positions."""
        return WrittenLogits(self.logits[positions])

    def with_temperature(self, temperature: Temperature) -> "WrittenLogits":
        """The logits divided by a temperature."""
        return WrittenLogits(apply_temperature(self.logits, temperature))


class LogitsProduct(torch.autograd.Function):
    """states · tableᵀ with factors of one number type and sums in float32, not rounded to it; gradients in that type.

    The kernel for a GPU does the same. A product under autocast would round the sums too, to bfloat16's 8 bits, so that
    many tokens were equally likely. A CPU has no such product: there the rounded factors are multiplied as float32.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, table: Tensor) -> Tensor:
        ctx.save_for_backward(states, table)
        with torch.autocast(states.device.type, enabled=False):
            if states.is_cuda:
                return torch.mm(states, table.mT, out_dtype=torch.float32)
            return states.float() @ table.float().mT

    @staticmethod
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor, Tensor]:
        states, table = ctx.saved_tensors
        slopes = slopes.to(states.dtype)
        return slopes @ table, slopes.mT @ states


def cross_entropy(logits: Float[Tensor, "picked vocab"], targets: Int[Tensor, " picked"]) -> Float[Tensor, " picked"]:
    """−log softmax(logits)[target] in nats, float32, for each position; ``logits`` float32, ``targets`` int64.

    The target's logit is picked by comparison. Compiled, the gradient softmax − 1[target] is then one pass; the
    gradient of an indexed read would be scattered into a second array of the logits' size.
    """
    vocabulary = torch.arange(logits.shape[1], device=logits.device)
    right = torch.where(vocabulary == targets[:, None], logits, 0.0).sum(1)
    return logits.logsumexp(1) - right


@torch.no_grad()
def sample_tokens(
    logits: Float[Tensor, "picked vocab"], keys: Int[Tensor, " picked"], temperature: Temperature = 1.0
) -> Int[Tensor, " picked"]:
    """One token for each position, int64, drawn from softmax(logits / temperature); no gradient passes.

    ``logits`` are float32; a token at −∞ is never drawn. ``keys``, int32 [picked]: those of the random numbers.

    Raises:
        ValueError: the logits are not float32.
    """
    if logits.dtype != torch.float32:
        raise ValueError(f"sampling needs float32 logits, got {logits.dtype}: rounded ones change the distribution")
    logits = apply_temperature(logits, temperature)
    vocabulary = logits.shape[1]
    numbers = uniform(keys, 3).double()
    block = pick_block(_block_masses(logits), numbers)

    tokens = block[:, None] * BLOCK_TOKENS + torch.arange(BLOCK_TOKENS, device=logits.device)
    inside = logits.gather(1, tokens.clamp(max=vocabulary - 1)).masked_fill(tokens >= vocabulary, float("-inf"))
    return block * BLOCK_TOKENS + pick_in_block(inside, numbers)


def apply_temperature(logits: Float[Tensor, "picked vocab"], temperature: Temperature) -> Float[Tensor, "picked vocab"]:
    """Logits divided by a temperature; the logits themselves if it is the number 1."""
    return logits / temperature if isinstance(temperature, Tensor) or temperature != 1.0 else logits


def pick_block(masses: Float[Tensor, "picked blocks"], numbers: Float[Tensor, "picked 3"]) -> Int[Tensor, " picked"]:
    """A block for each position, drawn by its mass with the first two of three uniform numbers, float64."""
    return _invert_distribution(masses.double(), (numbers[:, 0] - 0.5 / STEPS) + numbers[:, 1] / STEPS)


def pick_in_block(logits: Float[Tensor, "picked width"], numbers: Float[Tensor, "picked 3"]) -> Int[Tensor, " picked"]:
    """A token's index in its block, drawn by the softmax of the block's logits with the third number."""
    return _invert_distribution((logits - logits.amax(1, keepdim=True)).double().exp(), numbers[:, 2])


def _invert_distribution(
    weights: Float[Tensor, "picked choices"], numbers: Float[Tensor, " picked"]
) -> Int[Tensor, " picked"]:
    """The first choice at which the running sum of ``weights`` passes the share ``numbers`` of the whole; float64.

    The sums are of integers, in units of 2⁻⁴⁸ of the largest weight. They are exact in any order, so that every device
    computes the same (a GPU's running sums of floats do not repeat), and no choice of weight 0 is ever made, since a
    number below 1 times the whole stays below the whole in float64. If the weights are NaN it is the first choice.
    """
    units = (weights * (UNITS / weights.amax(1, keepdim=True))).nan_to_num().long()
    sums = units.cumsum(1).double()
    whole = sums[:, -1:]
    return ((sums <= numbers[:, None] * whole) & (whole > 0)).sum(1)


def _block_masses(logits: Float[Tensor, "picked vocab"]) -> Float[Tensor, "picked blocks"]:
    """For each block of tokens Σ exp(logit − the position's largest logit); the last block may be shorter."""
    blocks = logits.shape[1] // BLOCK_TOKENS
    whole = blocks * BLOCK_TOKENS
    shifted = logits - logits.amax(1, keepdim=True)
    masses = shifted[:, :whole].unflatten(1, (blocks, BLOCK_TOKENS)).exp().sum(2)
    if whole == logits.shape[1]:
        return masses
    return torch.cat([masses, shifted[:, whole:].exp().sum(1, keepdim=True)], dim=1)
