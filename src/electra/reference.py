"""The whole of ELECTRA in NumPy, to be read from top to bottom (arXiv 2003.10555, section 2; see docs/method.md).

A batch is ``ids``, int64 [rows, length]. ``text``, bool, marks what is not padding; ``choosable``, bool, what is
neither padding nor a special token. ``numbers`` are uniform in [0, 1): the caller brings the randomness. Figures are
float64.

Gradients (NumPy computes none): the generator's loss trains the generator and the embeddings that both towers read, the
discriminator's loss the discriminator and the same embeddings. No gradient passes from a sample to the logits that it
was drawn from, so the discriminator's loss does not train the generator: this is not a GAN.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

Array = np.ndarray


class Loss(NamedTuple):
    """A sum over positions, in nats, and their number. It is divided once, after the last micro-batch."""

    total: float
    positions: int


def how_many(text: Array, choosable: Array, rate: float = 0.15) -> Array:
    """int64 [rows]: k = max(1, min(N, round_half_even(rate · n))), n tokens in the row, special ones included.

    N = ⌊(rate + 0.005) · length⌋, at least 1, is the number of slots. k is never more than there are to choose from.
    """
    slots = max(1, int((rate + 0.005) * text.shape[1]))
    k = np.clip(np.round(rate * text.sum(1)).astype(np.int64), 1, slots)
    return np.minimum(k, choosable.sum(1))


def choose(numbers: Array, text: Array, choosable: Array, rate: float = 0.15) -> Array:
    """bool [rows, length]: m, the k choosable positions of a row with the largest ``numbers`` [rows, length].

    Each set of k positions is equally likely, and none is chosen twice.
    """
    order = np.argsort(np.where(choosable, -numbers, np.inf), axis=1, kind="stable")
    rank = np.argsort(order, axis=1)  # 0 for the largest number of the row
    return rank < how_many(text, choosable, rate)[:, None]


def mask(ids: Array, chosen: Array, numbers: Array, mask_id: int, replace_rate: float = 0.85) -> Array:
    """x^masked, what the generator reads: [MASK] at 85 % of the chosen positions; the rest stay as they are."""
    return np.where(chosen & (numbers < replace_rate), mask_id, ids)


def log_softmax(logits: Array) -> Array:
    """log p_G over the last axis."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def sample(logits: Array, numbers: Array, temperature: float = 1.0) -> Array:
    """x̂ ~ p_G: int64 [picked] from logits [picked, vocab], the first token where the summed p passes the number."""
    sums = np.exp(log_softmax(logits.astype(np.float64) / temperature)).cumsum(1)
    return (sums <= numbers[:, None] * sums[:, -1:]).sum(1)


def fill(ids: Array, chosen: Array, samples: Array) -> Array:
    """x^corrupt, what the discriminator reads: the samples [picked] at all chosen positions, in order of rows."""
    filled = ids.copy()
    filled[chosen] = samples
    return filled


def labels(corrupt: Array, original: Array) -> Array:
    """float64 [rows, length]: 1 = replaced. A sample that equals the original is an original: 0."""
    return (corrupt != original).astype(np.float64)


def recovery_loss(logits: Array, targets: Array) -> Loss:
    """L_MLM: Σ −log p_G(x_t | x^masked) over chosen positions; logits [picked, vocab], the true tokens [picked]."""
    return Loss(float(-np.take_along_axis(log_softmax(logits), targets[:, None], 1).sum()), len(targets))


def detection_loss(logits: Array, replaced: Array, text: Array) -> Loss:
    """L_Disc: Σ −y·log σ(z) − (1 − y)·log(1 − σ(z)) over everything that is not padding, [CLS] and [SEP] included."""
    losses = np.logaddexp(0, logits.astype(np.float64)) - replaced * logits
    return Loss(float(losses[text].sum()), int(text.sum()))


def mean_loss(losses: Sequence[Loss]) -> float:
    """Σ totals / Σ positions. The mean of the micro-batches' means would be another number."""
    return sum(loss.total for loss in losses) / sum(loss.positions for loss in losses)


def total_loss(generator: Sequence[Loss], discriminator: Sequence[Loss], weights: tuple = (1.0, 50.0)) -> float:
    """The loss of a step: 1 · mean L_MLM + λ · mean L_Disc over its micro-batches, λ = 50."""
    return weights[0] * mean_loss(generator) + weights[1] * mean_loss(discriminator)


def entropy(rate: float) -> float:
    """H(rate) in nats: the loss of a discriminator that knows only the share of replaced tokens."""
    return -sum(p * math.log(p) for p in (rate, 1 - rate) if p > 0)


def skill(loss: float, rate: float) -> float:
    """1 − mean L_Disc / H(rate): 0 for knowing only the rate, 1 for knowing all; NaN if the rate is 0 or 1."""
    return 1 - loss / entropy(rate) if 0 < rate < 1 else math.nan


def auc(scores: Array, replaced: Array) -> float:
    """P(a replaced position scores above an original one), ties counting half; both [positions], no padding."""
    positives, others = scores[replaced == 1], np.sort(scores[replaced == 0])
    below = [np.searchsorted(others, positives, side) for side in ("left", "right")]
    return float(np.mean(below) / len(others)) if len(positives) and len(others) else math.nan


def signal(text: Array, chosen: Array) -> tuple[int, int]:
    """How many positions have a loss: for masked language modelling the chosen, for replaced token detection all."""
    return int(chosen.sum()), int(text.sum())


def learning_rate(step: int, steps: int, warmup: int, peak: float) -> float:
    """The rate at ``step`` (from 0): linear decay times warm-up, so that the peak itself is never reached."""
    return peak * (1 - step / steps) * min(1.0, step / warmup if warmup else 1.0)


def adam(value: Array, gradient: Array, m: Array, v: Array, rate: float, decay: float = 0.01) -> tuple:
    """(value, m, v) after one step of the original code's Adam: no bias correction, ε outside the root."""
    m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
    return value - rate * (m / (np.sqrt(v) + 1e-6) + decay * value), m, v


def step(micro_batches: Sequence[tuple], generator: Callable, discriminator: Callable, mask_id: int,
         draw: np.random.Generator) -> tuple[float, float]:  # fmt: skip
    """(loss, skill) of one training step on micro-batches of (ids, text, choosable).

    ``generator`` gives logits [rows, length, vocab] for ids, ``discriminator`` [rows, length].
    """
    recovered, detected, replaced = [], [], 0.0
    for ids, text, choosable in micro_batches:
        chosen = choose(draw.random(ids.shape), text, choosable)
        logits = generator(mask(ids, chosen, draw.random(ids.shape), mask_id))[chosen]
        corrupt = fill(ids, chosen, sample(logits, draw.random(len(logits))))
        recovered.append(recovery_loss(logits, ids[chosen]))
        detected.append(detection_loss(discriminator(corrupt), labels(corrupt, ids), text))
        replaced += labels(corrupt, ids).sum()
    rate = replaced / sum(loss.positions for loss in detected)
    return total_loss(recovered, detected), skill(mean_loss(detected), rate)
