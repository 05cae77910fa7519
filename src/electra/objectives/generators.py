"""What fills the chosen positions: a small masked language model, two towers, or a fixed distribution.

A generator is a module that is called with the masked view and returns a ``GeneratorOutput``. Its ``term`` is what it
learns from. The tables that it reads may be the encoder's too.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from electra import flops
from electra.kernels.vocabulary.twin import Prediction, Score, WrittenLogits
from electra.model.config import EncoderConfig
from electra.model.embeddings import Embeddings
from electra.model.encoder import Encoder, Tower, build_encoder
from electra.model.heads import TokenHead
from electra.objectives.terms import Recovery, TermResult
from electra.objectives.view import GENERATOR, RIGHT, View, gather_positions, read_view


@dataclass(frozen=True)
class GeneratorOutput:
    """Distributions over the vocabulary for the ``chosen`` slots, and ``everywhere``, for all positions, if the
    generator predicts them. ``states``: the hidden states that those of the chosen slots come from."""

    chosen: Prediction
    states: Float[Tensor, "picked hidden"]
    everywhere: Prediction | None = None


class MaskedGenerator(nn.Module):
    """A masked language model: it learns to recover the tokens that were masked (ELECTRA, section 2)."""

    def __init__(self, tower: Tower, term: Recovery):
        super().__init__()
        self.tower, self.term = tower, term

    def forward(self, masked: View) -> GeneratorOutput:
        states = gather_positions(read_view(self.tower, masked, GENERATOR), masked.chosen)
        return GeneratorOutput(self.tower.predict(states), states)

    def result(self, output: GeneratorOutput, masked: View, score: Score) -> TermResult:
        """The loss of its term at the chosen slots, whose ``score`` this is."""
        return self.term.at_chosen(score, masked)

    def flops(self, length: int, slots: int) -> int:
        """Floating-point operations of a row's forward pass."""
        return flops.encoder_flops(self.tower.config, length) + flops.token_head_flops(self.tower.config, slots)


class TwoTowers(nn.Module):
    """A cloze model: a tower that sees the left context and one that sees the right predict together every token that
    is not special (Electric, section 3.2).

    It reads the text without masks and has a distribution for every position. Both towers read ``embeddings``.
    """

    def __init__(self, config: EncoderConfig, embeddings: Embeddings, term: Recovery):
        super().__init__()
        self.config, self.embeddings, self.term = config, embeddings, term
        self.left: Encoder = build_encoder(config, "left")
        self.right: Encoder = build_encoder(config, "right")
        self.head = TokenHead(config, towers=2)

    def forward(self, masked: View) -> GeneratorOutput:
        batch = masked.batch
        sides = []
        for encoder, purpose, shift in ((self.left, GENERATOR, 1), (self.right, RIGHT, -1)):
            keys = masked.dropout_keys(self.config, self.embeddings, purpose)
            embedded = self.embeddings(masked.original, batch.positions, batch.segments, keys)
            states = encoder(embedded, batch.positions, batch.documents, keys)[-1]
            sides.append(states.roll(shift, dims=1))  # a token is predicted from its neighbours' states
        states = torch.cat(sides, dim=2)
        everywhere = self.head.predict(states.flatten(0, 1), self.embeddings.tokens.weight)
        rows, length = masked.ids.shape
        slots = torch.arange(rows, device=states.device)[:, None] * length + masked.chosen
        return GeneratorOutput(everywhere.select(slots.flatten()), gather_positions(states, masked.chosen), everywhere)

    def result(self, output: GeneratorOutput, masked: View, score: Score) -> TermResult:
        """The loss of its term at every token, not only the chosen ones."""
        assert output.everywhere is not None
        return self.term.everywhere(output.everywhere.score(masked.original.flatten()), masked, score.samples)

    def flops(self, length: int, slots: int) -> int:
        """Floating-point operations of a row's forward pass."""
        head = 2 * length * self.config.embedding_size * (2 * self.config.hidden_size + self.config.vocab_size)
        return 2 * flops.encoder_flops(self.config, length) + head


class FixedDistribution(nn.Module):
    """The same distribution at every slot, which learns nothing: uniform, or token frequencies (ELECTRA, section
    3.3)."""

    def __init__(self, logits: Float[Tensor, " vocab"], term: Recovery):
        super().__init__()
        self.term = term
        self.logits: Tensor
        self.register_buffer("logits", logits.float(), persistent=False)

    def forward(self, masked: View) -> GeneratorOutput:
        logits = self.logits.expand(masked.chosen.numel(), -1)
        return GeneratorOutput(WrittenLogits(logits), logits[:, :0])

    def result(self, output: GeneratorOutput, masked: View, score: Score) -> TermResult:
        """Its loss at the chosen slots, which is only reported: no parameter has a gradient of it."""
        return self.term.at_chosen(score, masked)

    def flops(self, length: int, slots: int) -> int:
        """0: it has no matrix products."""
        return 0


Generator = MaskedGenerator | TwoTowers | FixedDistribution
