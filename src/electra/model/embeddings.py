"""From token ids to vectors, and how two towers hold their tables: shared, each its own, or one as what it adds."""

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
    """A look-up table: stopped(E) + Δ, where E is another module's ``weight``, and Δ begins with 0."""

    def __init__(self, base: nn.Embedding):
        super().__init__()
        self.base = [base]  # in a list, so that its parameters are not this table's too
        self.delta = nn.Parameter(torch.zeros_like(base.weight))

    @property
    def weight(self) -> Float[Tensor, "vocab embedding"]:
        """The table."""
        return self.base[0].weight.detach() + self.delta

    @torch.no_grad()
    def become(self, table: Float[Tensor, "vocab embedding"]) -> None:
        """Add so much that this is ``table`` now."""
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
    """LayerNorm(token), then dropout (ModernBERT): positions enter in the layers, segments nowhere."""

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
    """The discriminator's token table is the generator's, which its loss does not move, and what it adds to it
    (gradient-disentangled embedding sharing: DeBERTaV3, section 3.3). All else of the embeddings is each tower's own.

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
    """A set of tables for each tower, each as wide as its tower asks."""

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
