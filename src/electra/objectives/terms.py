"""Terms of a loss: each computes from a tower's hidden states a sum of losses over the positions that count.

A term is a module that is called as ``term(tower, hidden, view)``. It returns sums: the engine divides once, by the
count over all ranks and micro-batches.
"""

from typing import ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from electra import flops
from electra.kernels.vocabulary.twin import Score
from electra.model.config import EncoderConfig
from electra.model.encoder import Tower
from electra.model.heads import linear_float32
from electra.objectives.metrics import detection_figures, detection_statistics, ratio
from electra.objectives.view import View, gather_positions

Counted = Literal["chosen", "words", "all", "rows"]


class TermResult(NamedTuple):
    """One term on one micro-batch: ``total`` float32 [], the sum of its losses in nats; ``statistics`` float [n], which
    add up over micro-batches."""

    total: Tensor
    statistics: Tensor


class Term(nn.Module):
    """A term of the loss. ``on``: what it counts; ``weight``: the factor of its mean in the loss; ``detects``: it needs
    a tower with a detection head, not one that predicts tokens. Its own parameters are trained with the tower's."""

    detects: ClassVar[bool] = False

    def __init__(self, weight: float, on: Counted):
        super().__init__()
        self.weight, self.on = weight, on

    def figures(self, statistics: Float[Tensor, " statistics"]) -> dict[str, float]:
        """Named figures from summed statistics."""
        raise NotImplementedError

    def flops(self, config: EncoderConfig, length: int, slots: int) -> int:
        """Floating-point operations of a row's forward pass, without the encoder's."""
        raise NotImplementedError


class Recovery(Term):
    """Cross-entropy of the original token at the chosen positions (ELECTRA, the generator's loss; BERT's MLM).

    Statistics: summed loss, positions, positions where the likeliest token is right, slots that were sampled, sampled
    slots where the sample is right.
    """

    def __init__(self, weight: float = 1.0, on: Counted = "chosen"):
        super().__init__(weight, on)

    def forward(self, tower: Tower, hidden: Float[Tensor, "rows length dim"], view: View) -> TermResult:
        # Only the chosen slots: 15 % of the positions cost 15 % of the product with the vocabulary.
        return self.at_chosen(tower.predict(gather_positions(hidden, view.chosen)).score(view.targets()), view)

    def at_chosen(self, score: Score, view: View) -> TermResult:
        """The result at the chosen slots."""
        return self.sum_losses(score, view.targets(), view.valid.flatten(), view, score.samples)

    def everywhere(self, score: Score, view: View, samples: Int[Tensor, " picked"] | None) -> TermResult:
        """The result at all positions except padding and special tokens. ``samples`` are those of the chosen slots."""
        return self.sum_losses(score, view.original.flatten(), view.batch.choosable.flatten(), view, samples)

    def sum_losses(
        self, score: Score, targets: Tensor, counted: Tensor, view: View, samples: Int[Tensor, " picked"] | None
    ) -> TermResult:
        """The result at the positions where ``counted`` is true."""
        counted = counted.to(score.losses.dtype)
        total = (score.losses * counted).sum()
        right = ((score.likeliest == targets) * counted).sum()
        sampled, drawn = right.new_zeros(()), right.new_zeros(())
        if samples is not None:
            sampled = ((samples == view.targets()) & view.valid.flatten()).sum().to(right.dtype)
            drawn = view.valid.sum().to(right.dtype)
        return TermResult(total, torch.stack([total.detach(), counted.sum(), right, drawn, sampled]))

    def figures(self, statistics: Float[Tensor, " 5"]) -> dict[str, float]:
        """loss (nats), accuracy, sampled_accuracy."""
        loss, count, right, drawn, sampled = statistics.tolist()
        return {"loss": ratio(loss, count), "accuracy": ratio(right, count), "sampled_accuracy": ratio(sampled, drawn)}

    def flops(self, config: EncoderConfig, length: int, slots: int) -> int:
        """The head for tokens at the chosen slots."""
        return flops.token_head_flops(config, slots)


class Detection(Term):
    """Binary cross-entropy of "was this token replaced?" (ELECTRA, section 2, with the opposite label: 1 = replaced).

    ``on`` "all" counts every token that is not padding; "chosen" is the ablation ELECTRA 15 %.
    """

    detects = True

    def __init__(self, weight: float = 50.0, on: Counted = "all"):  # ELECTRA, section 3.1 and table 6
        super().__init__(weight, on)

    def forward(self, tower: Tower, hidden: Float[Tensor, "rows length dim"], view: View) -> TermResult:
        logits, labels, counted = self.logits(tower, hidden, view), self.labels(view), self.counted(view)
        losses = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        statistics = detection_statistics(losses.detach(), logits.detach(), labels, counted)
        return TermResult((losses * counted).sum(), statistics)

    def labels(self, view: View) -> Float[Tensor, "rows length"]:
        """1.0 where the token is not the original."""
        return (view.ids != view.original).float()

    def logits(
        self, tower: Tower, hidden: Float[Tensor, "rows length dim"], view: View
    ) -> Float[Tensor, "rows length"]:
        """The logit of P(replaced), float32."""
        return tower.detection_logits(hidden)

    def counted(self, view: View) -> Float[Tensor, "rows length"]:
        """1.0 where a position counts."""
        if self.on == "all":
            return (view.batch.documents > 0).float()
        return view.at_chosen(torch.ones_like(view.valid)).clamp(max=1.0)

    def figures(self, statistics: Float[Tensor, " statistics"]) -> dict[str, float]:
        """loss (nats), replaced_rate, skill, auc, precision, recall."""
        return detection_figures(statistics)

    def flops(self, config: EncoderConfig, length: int, slots: int) -> int:
        """The detection head at every position."""
        return flops.detection_head_flops(config, length)


class NoiseContrast(Detection):
    """Binary cross-entropy of "was this position resampled?" with P = σ(f(x) + log q(x) + log(m / (1 − m))) (Electric,
    equation 3, with the opposite label). Trained so, −f is the logarithm of the token's unnormalised probability given
    all others.

    A sample that equals the original counts as resampled. q is the generator's probability, from the clean text; no
    gradient passes through it. m is the share of the positions that are resampled at this step: the view's ``rate``.
    """

    def __init__(self, weight: float = 50.0):
        super().__init__(weight, "all")

    def labels(self, view: View) -> Float[Tensor, "rows length"]:
        """1.0 where the position was resampled."""
        return view.at_chosen(torch.ones_like(view.valid)).clamp(max=1.0)

    def logits(
        self, tower: Tower, hidden: Float[Tensor, "rows length dim"], view: View
    ) -> Float[Tensor, "rows length"]:
        """f(x) + log q(x) + log(m / (1 − m))."""
        assert view.proposal is not None, "the corruption has no proposal"
        energies = super().logits(tower, hidden, view)
        return energies + view.proposal.log_q.detach() + view.rate.logit().float()


class Reinforce(Term):
    """The gradient of a generator that works against the discriminator (ELECTRA, section 3.3 and appendix F).

    Sampling is a policy whose reward at a chosen position is the discriminator's loss there. Its gradient is that of
    −(reward − b) · log q(sample) (REINFORCE). The baseline b is a linear function of the generator's states, fitted to
    the rewards by least squares. No gradient reaches the discriminator, and none reaches the states through b.
    """

    def __init__(self, hidden: int, weight: float = 1.0):
        super().__init__(weight, "chosen")
        self.baseline = nn.Linear(hidden, 1)

    def forward(self, tower: Tower, hidden: Float[Tensor, "rows length dim"], view: View) -> TermResult:
        assert view.proposal is not None, "the corruption has no proposal"
        labels = (view.ids != view.original).float().gather(1, view.chosen)
        with torch.no_grad():
            logits = tower.detection_logits(gather_positions(hidden, view.chosen)).view_as(labels)
            reward = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        expected = linear_float32(self.baseline, view.proposal.states.detach()).view_as(reward)
        log_q = view.proposal.log_q.gather(1, view.chosen)
        policy = -(reward - expected.detach()) * log_q
        error = (expected - reward) ** 2
        total, rewards, errors = ((values * view.valid).sum() for values in (policy + error, reward, error))
        return TermResult(total, torch.stack([view.valid.sum().float(), rewards, errors.detach()]))

    def figures(self, statistics: Float[Tensor, " 3"]) -> dict[str, float]:
        """reward (nats), and baseline_error, its mean square."""
        count, reward, error = statistics.tolist()
        return {"reward": ratio(reward, count), "baseline_error": ratio(error, count)}

    def flops(self, config: EncoderConfig, length: int, slots: int) -> int:
        """A third of the detection head at the chosen slots: it has no backward pass, which is counted as two
        thirds."""
        return flops.detection_head_flops(config, slots) // 3
