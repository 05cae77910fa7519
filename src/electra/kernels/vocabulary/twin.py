"""Over the vocabulary: the loss of the right token, and a sample of the softmax with an addressed random number.

Both want float32 logits: in bfloat16 a sampler collapses onto the top tokens.

A sample by the Gumbel trick takes V random numbers a position. Inverting the distribution function in two levels takes
three: the vocabulary is cut into blocks of 128 tokens, about √V; two numbers (46 bits) pick a block by its share of
the probability, and a third one a token inside it. What is drawn follows the float32 softmax; nothing is cut off or
rounded away, a token of probability 10⁻⁹ comes once in 10⁹ draws.
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from electra.kernels.random import STEPS, uniform

Temperature = float | Float[Tensor, ""]

UNITS = 2.0**48  # of the largest weight: less than the last of a number's 46 bits, and 32,768 of them fit into 63
BLOCK_TOKENS = 128  # tokens; the kernel for a GPU has the same, so that both draw the same tokens


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn for each position: from softmax(logits / ``temperature``), by the random number that
    ``keys`` int32 [picked] name; ``never`` the target."""

    keys: Int[Tensor, " picked"]
    temperature: Temperature = 1.0
    never: bool = False


@dataclass(frozen=True)
class Score:
    """``losses`` float32 [picked]: −log softmax(logits)[target] in nats; no gradient passes through the rest.
    ``likeliest`` and ``samples`` are tokens, int64 [picked]."""

    losses: Float[Tensor, " picked"]
    likeliest: Int[Tensor, " picked"]
    samples: Int[Tensor, " picked"] | None = None


@runtime_checkable
class Prediction(Protocol):
    """A distribution over the vocabulary for each of some positions."""

    def score(self, targets: Int[Tensor, " picked"], draw: Sampling | None = None) -> Score:
        """What it says of the ``targets``, int64, and what is drawn from it."""

    def at(self, positions: Int[Tensor, " some"]) -> "Prediction":
        """That of some of the positions, int64."""

    def cooled(self, temperature: Temperature) -> "Prediction":
        """That of the logits divided by a temperature."""


@dataclass(frozen=True)
class WrittenLogits:
    """Float32 ``logits`` [picked, vocab] as they are."""

    logits: Float[Tensor, "picked vocab"]

    def score(self, targets: Int[Tensor, " picked"], draw: Sampling | None = None) -> Score:
        """See ``Prediction``."""
        logits, samples = self.logits.detach(), None
        if draw is not None:
            allowed = logits.scatter(1, targets[:, None], float("-inf")) if draw.never else logits
            samples = sample_tokens(allowed, draw.keys, draw.temperature)
        return Score(cross_entropy(self.logits, targets), logits.argmax(1), samples)

    def at(self, positions: Int[Tensor, " some"]) -> "WrittenLogits":
        """See ``Prediction``."""
        return WrittenLogits(self.logits[positions])

    def cooled(self, temperature: Temperature) -> "WrittenLogits":
        """See ``Prediction``."""
        return WrittenLogits(apply_temperature(self.logits, temperature))


class LogitsProduct(torch.autograd.Function):
    """states · tableᵀ: factors of one number type, float32 sums, which are not rounded to it; gradients in that type.

    So both twins have it. A product under autocast would round the sums too: of bfloat16's 8 bits, so that many tokens
    are equally likely. A CPU has no such product: there the factors, rounded, are multiplied as float32.
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

    The right logit is picked by comparison. Compiled, that makes the gradient softmax − 1[target] one pass, where that
    of an indexed read is scattered into a second array of the logits' size.
    """
    vocabulary = torch.arange(logits.shape[1], device=logits.device)
    right = torch.where(vocabulary == targets[:, None], logits, 0.0).sum(1)
    return logits.logsumexp(1) - right


@torch.no_grad()
def sample_tokens(
    logits: Float[Tensor, "picked vocab"], keys: Int[Tensor, " picked"], temperature: Temperature = 1.0
) -> Int[Tensor, " picked"]:
    """One token for each position, int64, from softmax(logits / temperature); no gradient passes.

    ``logits`` are float32; a token at −∞ is never drawn. ``keys`` int32 [picked] name the random numbers.

    Raises:
        ValueError: the logits are not float32.
    """
    if logits.dtype != torch.float32:
        raise ValueError(f"sampling needs float32 logits, got {logits.dtype}: rounded ones change the distribution")
    logits = apply_temperature(logits, temperature)
    vocabulary = logits.shape[1]
    numbers = uniform(keys, 3).double()
    block = pick_block(_block_masses(logits), numbers)

    at = block[:, None] * BLOCK_TOKENS + torch.arange(BLOCK_TOKENS, device=logits.device)
    inside = logits.gather(1, at.clamp(max=vocabulary - 1)).masked_fill(at >= vocabulary, float("-inf"))
    return block * BLOCK_TOKENS + pick_in_block(inside, numbers)


def apply_temperature(logits: Float[Tensor, "picked vocab"], temperature: Temperature) -> Float[Tensor, "picked vocab"]:
    """Logits divided by a temperature; themselves where it is always 1."""
    return logits / temperature if isinstance(temperature, Tensor) or temperature != 1.0 else logits


def pick_block(masses: Float[Tensor, "picked blocks"], numbers: Float[Tensor, "picked 3"]) -> Int[Tensor, " picked"]:
    """A block by its mass, by the first two of three uniform numbers, float64."""
    return _invert_distribution(masses.double(), (numbers[:, 0] - 0.5 / STEPS) + numbers[:, 1] / STEPS)


def pick_in_block(logits: Float[Tensor, "picked width"], numbers: Float[Tensor, "picked 3"]) -> Int[Tensor, " picked"]:
    """A token of a block by the softmax of its logits, by the third number."""
    return _invert_distribution((logits - logits.amax(1, keepdim=True)).double().exp(), numbers[:, 2])


def _invert_distribution(
    weights: Float[Tensor, "picked choices"], numbers: Float[Tensor, " picked"]
) -> Int[Tensor, " picked"]:
    """The first choice at which the running sum of ``weights`` passes the share ``numbers`` of the whole; float64.

    The sums are of whole numbers, in units of 2⁻⁴⁸ of the largest weight: exact in any order, so that every device sums
    alike and again (a GPU's running sums of floats do not repeat), and no choice of weight 0 is ever made, for a number
    below 1 times the whole stays below it in float64. Of what are no numbers it is the first.
    """
    units = (weights * (UNITS / weights.amax(1, keepdim=True))).nan_to_num().long()
    sums = units.cumsum(1).double()
    whole = sums[:, -1:]
    return ((sums <= numbers[:, None] * whole) & (whole > 0)).sum(1)


def _block_masses(logits: Float[Tensor, "picked vocab"]) -> Float[Tensor, "picked blocks"]:
    """For each block of tokens Σ exp(logit − largest logit of the position); the last may be shorter."""
    blocks = logits.shape[1] // BLOCK_TOKENS
    whole = blocks * BLOCK_TOKENS
    shifted = logits - logits.amax(1, keepdim=True)
    masses = shifted[:, :whole].unflatten(1, (blocks, BLOCK_TOKENS)).exp().sum(2)
    if whole == logits.shape[1]:
        return masses
    return torch.cat([masses, shifted[:, whole:].exp().sum(1, keepdim=True)], dim=1)
