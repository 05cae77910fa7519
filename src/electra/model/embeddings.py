"""From token ids to vectors, and how two towers hold their tables: shared, or each its own."""

from jaxtyping import Float, Int
from torch import Tensor, nn

from electra.errors import UserError
from electra.kernels.random import dropout
from electra.model.config import ClassicConfig, EncoderConfig, ModernConfig
from electra.model.initial import table

SITE = 0  # of the dropout; the layers' sites follow


class ClassicEmbeddings(nn.Module):
    """LayerNorm(token + position + segment), then dropout (BERT)."""

    def __init__(self, config: ClassicConfig):
        super().__init__()
        self.tokens = table(config.vocab_size, config.embedding_size, config.init_std)
        self.positions = table(config.max_positions, config.embedding_size, config.init_std)
        self.segments = table(config.segments, config.embedding_size, config.init_std)
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
        return dropout(self.norm(summed), keys, SITE, self.dropout)


class ModernEmbeddings(nn.Module):
    """LayerNorm(token), then dropout (ModernBERT): positions enter in the layers, segments nowhere."""

    def __init__(self, config: ModernConfig):
        super().__init__()
        self.tokens = table(config.vocab_size, config.embedding_size, config.init_std)
        self.norm = nn.LayerNorm(config.embedding_size, config.norm_eps, bias=False)
        self.dropout = config.dropout

    def forward(
        self,
        ids: Int[Tensor, "rows length"],
        positions: Int[Tensor, "rows length"],
        segments: Int[Tensor, "rows length"],
        keys: Int[Tensor, " rows"] | None,
    ) -> Float[Tensor, "rows length embedding"]:
        return dropout(self.norm(self.tokens(ids)), keys, SITE, self.dropout)


Embeddings = ClassicEmbeddings | ModernEmbeddings


def build_embeddings(config: EncoderConfig) -> Embeddings:
    """Fresh embeddings of the config's kind."""
    return ClassicEmbeddings(config) if isinstance(config, ClassicConfig) else ModernEmbeddings(config)


class Shared(nn.Module):
    """One set of tables, read by the generator and the discriminator (ELECTRA, section 3.2).

    Raises:
        UserError: the towers' embeddings are not equally wide.
    """

    def __init__(self, config: EncoderConfig, generator: EncoderConfig | None = None):
        super().__init__()
        generator = generator or config
        if generator.embedding_size != config.embedding_size:
            raise UserError(
                f"a generator {generator.embedding_size} wide cannot share embeddings {config.embedding_size} wide: "
                "say generator_width 1 and make it less deep, or embeddings own"
            )
        self.generator = self.discriminator = build_embeddings(config)


class Own(nn.Module):
    """A set of tables for each tower, each as wide as its tower asks."""

    def __init__(self, config: EncoderConfig, generator: EncoderConfig | None = None):
        super().__init__()
        self.generator = build_embeddings(generator or config)
        self.discriminator = build_embeddings(config)
