"""From token ids to vectors, and how two towers hold their tables: shared, each its own, or disentangled."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from electra.errors import UserError
from electra.kernels.random import dropout
from electra.model.config import ClassicConfig, EncoderConfig, ModernConfig
from electra.model.initial import build_table

EMBEDDING_SITE = 0  # of the dropout; the layers' sites follow


class DeltaEmbedding(nn.Module):
    """The table stop_gradient(E) + Δ, where E is another module's ``weight`` and the parameter Δ begins as 0."""

    def __init__(self, base: nn.Embedding):
        super().__init__()
        self.base = [base]  # in a list, so that its parameters do not become this module's too
        self.delta = nn.Parameter(torch.zeros_like(base.weight))

    @property
    def weight(self) -> Float[Tensor, "vocab embedding"]:
        """The whole table."""
        return self.base[0].weight.detach() + self.delta

    @torch.no_grad()
    def set_weight(self, table: Float[Tensor, "vocab embedding"]) -> None:
        """Set Δ so that the whole table is ``table``."""
        self.delta.copy_(table - self.base[0].weight)

    def forward(self, ids: Int[Tensor, "rows length"]) -> Float[Tensor, "rows length embedding"]:
        return F.embedding(ids, self.base[0].weight.detach()) + F.embedding(ids, self.delta)


class ClassicEmbeddings(nn.Module):
    """LayerNorm(token + position + segment), then dropout (BERT)."""

    def __init__(self, config: ClassicConfig):
        super().__init__()
        self.tokens: nn.Embedding | DeltaEmbedding = build_table(
            config.vocab_size, config.embedding_size, config.init_std
        )
        self.positions = build_table(config.max_positions, config.embedding_size, config.init_std)
        self.segments = build_table(config.segments, config.embedding_size, config.init_std)
        self.norm = nn.LayerNorm(config.embedding_size, config.norm_eps)
        self.dropout = config.dropout

    def forward(
        self,
        ids: Int[Tensor, "rows length"],
        positions: Int[Tensor, "rows length"],
        segments: Int[Tensor, "rows length"],
        keys: Int[Tensor, " rows"] | None,
    ) -> Float[Tensor, "rows length embedding"]:
        summed = self.tokens(ids) + self.positions(positions) + self.segments(segments)
        return dropout(self.norm(summed), keys, EMBEDDING_SITE, self.dropout)


class ModernEmbeddings(nn.Module):
    """LayerNorm(token), then dropout (ModernBERT). The layers use positions; segments are not used."""

    def __init__(self, config: ModernConfig):
        super().__init__()
        self.tokens: nn.Embedding | DeltaEmbedding = build_table(
            config.vocab_size, config.embedding_size, config.init_std
        )
        self.norm = nn.LayerNorm(config.embedding_size, config.norm_eps, bias=False)
        self.dropout = config.dropout

    def forward(
        self,
        ids: Int[Tensor, "rows length"],
        positions: Int[Tensor, "rows length"],
        segments: Int[Tensor, "rows length"],
        keys: Int[Tensor, " rows"] | None,
    ) -> Float[Tensor, "rows length embedding"]:
        return dropout(self.norm(self.tokens(ids)), keys, EMBEDDING_SITE, self.dropout)


Embeddings = ClassicEmbeddings | ModernEmbeddings


def build_embeddings(config: EncoderConfig) -> Embeddings:
    """Fresh embeddings of the config's kind."""
    return ClassicEmbeddings(config) if isinstance(config, ClassicConfig) else ModernEmbeddings(config)


class SharedEmbeddings(nn.Module):
    """One set of tables, read by the generator and the discriminator (ELECTRA, section 3.2).

    Raises:
        UserError: the towers' embeddings are not equally wide.
    """

    def __init__(self, config: EncoderConfig, generator: EncoderConfig | None = None):
        super().__init__()
        check_same_width(config, generator or config)
        self.generator = self.discriminator = build_embeddings(config)


class DisentangledEmbeddings(nn.Module):
    """The discriminator's token table is the generator's plus a Δ; its loss moves only Δ (gradient-disentangled
    embedding sharing: DeBERTaV3, section 3.3). Each tower has its own for the rest of the embeddings.

    Raises:
        UserError: the towers' embeddings are not equally wide.
    """

    def __init__(self, config: EncoderConfig, generator: EncoderConfig | None = None):
        super().__init__()
        check_same_width(config, generator or config)
        self.generator = build_embeddings(generator or config)
        self.discriminator = build_embeddings(config)
        assert isinstance(self.generator.tokens, nn.Embedding)
        self.discriminator.tokens = DeltaEmbedding(self.generator.tokens)


class OwnEmbeddings(nn.Module):
    """A set of tables for each tower, as wide as its config says."""

    def __init__(self, config: EncoderConfig, generator: EncoderConfig | None = None):
        super().__init__()
        self.generator = build_embeddings(generator or config)
        self.discriminator = build_embeddings(config)


def check_same_width(config: EncoderConfig, generator: EncoderConfig) -> None:
    """Raise ``UserError`` unless one table can serve both towers."""
    if generator.embedding_size != config.embedding_size:
        raise UserError(
            f"a generator {generator.embedding_size} wide cannot share embeddings {config.embedding_size} wide: "
            "say generator_width 1 and make it less deep, or embeddings own"
        )
