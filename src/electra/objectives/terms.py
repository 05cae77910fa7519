"""Terms of a loss: what is asked of a tower's hidden states, as a sum over counted positions, and its statistics.

A term divides by nothing: the engine divides once, by the count over all ranks and micro-batches.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from electra.kernels.vocabulary import cross_entropy
from electra.model.encoder import Tower
from electra.objectives.metrics import detection_figures, detection_statistics, ratio
from electra.objectives.view import View, gather

Counted = Literal["chosen", "all"]


class Result(NamedTuple):
    """One term on one micro-batch: ``total`` float32 [], the sum of its losses in nats; ``statistics`` float [n]."""

    total: Tensor
    statistics: Tensor


@dataclass(frozen=True)
class Recovery:
    """Cross-entropy of the original token at the chosen positions (ELECTRA, the generator's loss; BERT's MLM).

    Statistics: summed loss, positions, positions where the likeliest token is right, where the sampled one is.
    """

    weight: float = 1.0
    on: Counted = "chosen"

    def logits(
        self, tower: Tower, hidden: Float[Tensor, "rows length dim"], view: View
    ) -> Float[Tensor, "picked vocab"]:
        """Float32 logits at the chosen slots only: 15 % of the positions cost 15 % of the vocabulary product."""
        return tower.token_logits(gather(hidden, view.chosen))

    def result(
        self, logits: Float[Tensor, "picked vocab"], view: View, samples: Int[Tensor, "rows slots"] | None
    ) -> Result:
        original = view.original.gather(1, view.chosen).flatten()
        counted = view.valid.flatten().to(logits.dtype)
        total = (cross_entropy(logits, original) * counted).sum()
        right = ((logits.detach().argmax(1) == original) * counted).sum()
        sampled = ((samples.flatten() == original) * counted).sum() if samples is not None else right.new_zeros(())
        return Result(total, torch.stack([total.detach(), counted.sum(), right, sampled]))

    def __call__(self, tower: Tower, hidden: Float[Tensor, "rows length dim"], view: View) -> Result:
        return self.result(self.logits(tower, hidden, view), view, None)

    @staticmethod
    def figures(statistics: Float[Tensor, " 4"]) -> dict[str, float]:
        loss, count, right, sampled = statistics.tolist()
        return {"loss": ratio(loss, count), "accuracy": ratio(right, count), "sampled_accuracy": ratio(sampled, count)}


@dataclass(frozen=True)
class Detection:
    """Binary cross-entropy of "was this token replaced?" (ELECTRA, section 2, with the sign turned: 1 = replaced).

    ``on`` "all" counts every token that is not padding; "chosen" is the ablation ELECTRA 15 %.
    """

    weight: float = 50.0  # ELECTRA, section 3.1 and table 6
    on: Counted = "all"

    def __call__(self, tower: Tower, hidden: Float[Tensor, "rows length dim"], view: View) -> Result:
        logits = tower.detection_logits(hidden).float()
        labels = (view.ids != view.original).float()
        counted = self.counted(view)
        each = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        return Result((each * counted).sum(), detection_statistics(each.detach(), logits.detach(), labels, counted))

    def counted(self, view: View) -> Tensor:
        if self.on == "all":
            return (view.batch.documents > 0).float()
        return torch.zeros_like(view.ids, dtype=torch.float32).scatter(1, view.chosen, view.valid.float())

    @staticmethod
    def figures(statistics: Float[Tensor, " statistics"]) -> dict[str, float]:
        return detection_figures(statistics)
