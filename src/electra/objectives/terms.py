"""Terms of a loss: what is asked of a tower's hidden states, as a sum over counted positions, and its statistics.

A term is a module called as ``term(tower, hidden, view)``. It divides by nothing: the engine divides once, by the count
over all ranks and micro-batches. ``on`` says what is counted, ``weight`` how much the mean weighs in the loss; what it
learns besides the tower's parameters are its own.
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
    """One term on one micro-batch: ``total`` float32 [], the sum of its losses in nats; ``statistics`` float [n]."""

    total: Tensor
    statistics: Tensor


class Term(nn.Module):
    """See above. ``detects``: it asks for the head of a discriminator, not for one that predicts tokens."""

    detects: ClassVar[bool] = False

    def __init__(self, weight: float, on: Counted):
        super().__init__()
        self.weight, self.on = weight, on

    def figures(self, statistics: Float[Tensor, " statistics"]) -> dict[str, float]:
        """Summed statistics as named figures."""
        raise NotImplementedError

    def flops(self, config: EncoderConfig, length: int, slots: int) -> int:
        """A forward pass of a row, beyond the encoder's."""
        raise NotImplementedError


class Recovery(Term):
    """Cross-entropy of the original token at the chosen positions (ELECTRA, the generator's loss; BERT's MLM).

    Statistics: summed loss, positions, positions where the likeliest token is right, slots that were sampled, those of
    them where the sample is right.
    """

    def __init__(self, weight: float = 1.0, on: Counted = "chosen"):
        super().__init__(weight, on)

    def forward(self, tower: Tower, hidden: Float[Tensor, "rows length dim"], view: View) -> TermResult:
        # At the chosen slots only: 15 % of the positions cost 15 % of the vocabulary product.
        return self.at_chosen(tower.predict(gather_positions(hidden, view.chosen)).score(view.targets()), view)

    def at_chosen(self, score: Score, view: View) -> TermResult:
        """The losses at the chosen slots."""
        return self.summed(score, view.targets(), view.valid.flatten(), view, score.samples)

    def everywhere(self, score: Score, view: View, samples: Int[Tensor, " picked"] | None) -> TermResult:
        """The losses at all positions; those that are no padding or special token count. ``samples``: at the slots."""
        return self.summed(score, view.original.flatten(), view.batch.choosable.flatten(), view, samples)

    def summed(
        self, score: Score, targets: Tensor, counted: Tensor, view: View, samples: Int[Tensor, " picked"] | None
    ) -> TermResult:
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
        """See ``Term``."""
        return flops.token_head_flops(config, slots)


class Detection(Term):
    """Binary cross-entropy of "was this token replaced?" (ELECTRA, section 2, with the sign turned: 1 = replaced).

    ``on`` "all" counts every token that is not padding; "chosen" is the ablation ELECTRA 15 %.
    """

    detects = True

    def __init__(self, weight: float = 50.0, on: Counted = "all"):  # ELECTRA, section 3.1 and table 6
        super().__init__(weight, on)

    def forward(self, tower: Tower, hidden: Float[Tensor, "rows length dim"], view: View) -> TermResult:
        logits, labels, counted = self.logits(tower, hidden, view), self.labels(view), self.counted(view)
        each = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        return TermResult((each * counted).sum(), detection_statistics(each.detach(), logits.detach(), labels, counted))

    def labels(self, view: View) -> Float[Tensor, "rows length"]:
        """1.0 where the token is another than the original."""
        return (view.ids != view.original).float()

    def logits(
        self, tower: Tower, hidden: Float[Tensor, "rows length dim"], view: View
    ) -> Float[Tensor, "rows length"]:
        """The logit of that, float32."""
        return tower.detection_logits(hidden)

    def counted(self, view: View) -> Float[Tensor, "rows length"]:
        """1.0 where a position counts."""
        if self.on == "all":
            return (view.batch.documents > 0).float()
        return view.at_chosen(torch.ones_like(view.valid)).clamp(max=1.0)

    def figures(self, statistics: Float[Tensor, " statistics"]) -> dict[str, float]:
        """See ``detection_figures``."""
        return detection_figures(statistics)

    def flops(self, config: EncoderConfig, length: int, slots: int) -> int:
        """See ``Term``."""
        return flops.detection_head_flops(config, length)


class NoiseContrast(Detection):
    """ "Was this position resampled?", by P = σ(f(x) + log q(x) + log(m / (1 − m))) (Electric, equation 3, its sign
    turned): trained so, −f is the logarithm of the token's unnormalised probability given all others.

    A sample that equals the original counts as resampled. ``q`` is the generator's, from the clean text; no gradient
    passes through it. m is the share of the positions that are resampled, now: the view's ``rate``.
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
        assert view.proposal is not None, "the corruption does not say how likely its tokens were"
        energies = super().logits(tower, hidden, view)
        return energies + view.proposal.log_q.detach() + view.rate.logit().float()


class Reinforce(Term):
    """The generator's gradient where it works against the discriminator (ELECTRA, section 3.3 and appendix F).

    Sampling is a policy whose reward at a chosen position is the discriminator's loss there; its gradient is that of
    −(reward − b) · log q(sample) (REINFORCE), where the baseline b is a linear function of the generator's states,
    fitted to the rewards by least squares. The discriminator learns nothing from it, the states nothing from b.
    """

    def __init__(self, hidden: int, weight: float = 1.0):
        super().__init__(weight, "chosen")
        self.baseline = nn.Linear(hidden, 1)

    def forward(self, tower: Tower, hidden: Float[Tensor, "rows length dim"], view: View) -> TermResult:
        assert view.proposal is not None, "the corruption does not say how likely its tokens were"
        labels = (view.ids != view.original).float().gather(1, view.chosen)
        with torch.no_grad():
            logits = tower.detection_logits(gather_positions(hidden, view.chosen)).view_as(labels)
            reward = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        expected = linear_float32(self.baseline, view.proposal.states.detach()).view_as(reward)
        log_q = view.proposal.log_q.gather(1, view.chosen)
        policy = -(reward - expected.detach()) * log_q
        error = (expected - reward) ** 2
        sums = [(each * view.valid).sum() for each in (policy + error, reward, error)]
        return TermResult(sums[0], torch.stack([view.valid.sum().float(), sums[1], sums[2].detach()]))

    def figures(self, statistics: Float[Tensor, " 3"]) -> dict[str, float]:
        """reward (nats), and the baseline's mean squared error."""
        count, reward, error = statistics.tolist()
        return {"reward": ratio(reward, count), "baseline_error": ratio(error, count)}

    def flops(self, config: EncoderConfig, length: int, slots: int) -> int:
        """See ``Term``; a third, as nothing goes backward through the head."""
        return flops.detection_head_flops(config, slots) // 3
