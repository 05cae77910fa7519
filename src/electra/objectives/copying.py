"""Terms for the original token where the input may be copied: a gate weighs the input against the softmax."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from electra import flops
from electra.model.config import EncoderConfig
from electra.model.encoder import Tower
from electra.model.heads import TokenHead, linear_float32
from electra.objectives.metrics import ratio
from electra.objectives.terms import Term, TermResult
from electra.objectives.view import View, gather_positions


def copy_losses(
    losses: Float[Tensor, " picked"], gate: Float[Tensor, " picked"], same: Bool[Tensor, " picked"]
) -> Float[Tensor, " picked"]:
    """−log(σ(gate) · 1[the input is the original] + σ(−gate) · p(original)), where ``losses`` are −log p(original)."""
    generated = F.logsigmoid(-gate) - losses
    return -torch.where(same, torch.logaddexp(F.logsigmoid(gate), generated), generated)


def copy_statistics(losses: Tensor, same: Tensor, gate: Tensor, counted: Tensor) -> Tensor:
    """Summed loss, positions, changed positions, the sum of the gate over positions that were not changed, and over
    those that were."""
    kept, changed = same * counted, ~same * counted
    return torch.stack(
        [(losses * counted).sum(), counted.sum(), changed.sum(), (gate.sigmoid() * kept).sum(),
         (gate.sigmoid() * changed).sum()]
    ).detach()  # fmt: skip


def copy_figures(statistics: Float[Tensor, " 5"]) -> dict[str, float]:
    """loss (nats), and the gate's mean where the input is the original and where it is not."""
    loss, count, changed, kept_gate, changed_gate = statistics.tolist()
    return {
        "loss": ratio(loss, count),
        "copied_originals": ratio(kept_gate, count - changed),
        "copied_replacements": ratio(changed_gate, changed),
    }


class AllTokens(Term):
    """Cross-entropy of the original at every token, with a gate that is a learned linear function of the states
    (ELECTRA, section 3.4, all-tokens MLM)."""

    def __init__(self, hidden: int, weight: float = 1.0):
        super().__init__(weight, "all")
        self.gate = nn.Linear(hidden, 1)

    def forward(self, tower: Tower, hidden: Float[Tensor, "rows length dim"], view: View) -> TermResult:
        states, original = hidden.flatten(0, 1), view.original.flatten()
        gate, same = linear_float32(self.gate, states).squeeze(1), (view.ids == view.original).flatten()
        losses = copy_losses(tower.predict(states).score(original).losses, gate, same)
        counted = (view.batch.documents > 0).flatten().float()
        return TermResult((losses * counted).sum(), copy_statistics(losses, same, gate, counted))

    def figures(self, statistics: Float[Tensor, " 5"]) -> dict[str, float]:
        """loss (nats), copied_originals, copied_replacements."""
        return copy_figures(statistics)

    def flops(self, config: EncoderConfig, length: int, slots: int) -> int:
        """The head for tokens at every position."""
        return flops.token_head_flops(config, length)


class Correction(Term):
    """Cross-entropy of the original at the chosen positions, for a tower that also learns detection. The gate is the
    probability that a token was not replaced; only detection trains it (corrective language modelling: COCO-LM, section
    3.2).

    The head for tokens is the term's own; the table is the tower's.
    """

    def __init__(self, config: EncoderConfig, weight: float = 1.0):
        super().__init__(weight, "chosen")
        self.head = TokenHead(config)

    def forward(self, tower: Tower, hidden: Float[Tensor, "rows length dim"], view: View) -> TermResult:
        states, original = gather_positions(hidden, view.chosen), view.targets()
        gate = -tower.detection_logits(states.detach()).detach()
        same = view.ids.gather(1, view.chosen).flatten() == original
        prediction = self.head.predict(states, tower.embeddings.tokens.weight)
        losses = copy_losses(prediction.score(original).losses, gate, same)
        counted = view.valid.flatten().float()
        return TermResult((losses * counted).sum(), copy_statistics(losses, same, gate, counted))

    def figures(self, statistics: Float[Tensor, " 5"]) -> dict[str, float]:
        """loss (nats), copied_originals, copied_replacements."""
        return copy_figures(statistics)

    def flops(self, config: EncoderConfig, length: int, slots: int) -> int:
        """The head for tokens at the chosen slots."""
        return flops.token_head_flops(config, slots)
