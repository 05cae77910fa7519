"""The configs of the two kinds of encoder: every number that determines a tower's shape and initial weights."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from electra.config_types import ByKind
from electra.errors import UserError
from electra.ranges import Count, FractionBelowOne, Positive


@dataclass(frozen=True)
class ClassicConfig:
    """BERT's encoder as ELECTRA uses it: post-norm, learned positions, segments, GELU. Defaults: ELECTRA-Small's.

    Raises:
        UserError: ``hidden_size`` is no multiple of ``heads``.
    """

    kind: Literal["classic"] = "classic"
    vocab_size: Count = 30522  # BERT, uncased
    hidden_size: Count = 256
    layers: Count = 12
    heads: Count = 4
    intermediate_size: Count = 1024
    embedding_size: Count = 128
    max_positions: Count = 512
    segments: Count = 2
    dropout: FractionBelowOne = 0.1
    attention_dropout: FractionBelowOne = 0.1
    norm_eps: Positive = 1e-12  # original code
    init_std: Positive = 0.02

    def __post_init__(self) -> None:
        check_heads(self.hidden_size, self.heads, 1)


@dataclass(frozen=True)
class ModernConfig:
    """ModernBERT's encoder: pre-norm, rotary positions, GeGLU, no biases, a global layer among local ones.

    ``dropout`` is that of the embeddings and inside the feed-forward part, ``attention_dropout`` that of the weights of
    attention and of its output: the places where ModernBERT has them. Local layers see ``local_window // 2`` places to
    each side; layers 0, ``global_every``, 2 · ``global_every`` … see the whole document.

    Raises:
        UserError: ``hidden_size`` is no multiple of ``heads``, or a head's size is odd (rotary positions turn pairs).
    """

    kind: Literal["modern"] = "modern"
    vocab_size: Count = 30522
    hidden_size: Count = 256
    layers: Count = 12
    heads: Count = 4
    intermediate_size: Count = 672  # GeGLU has three matrices: 2/3 of 1024, so as many weights as Small's layers
    max_positions: Count = 8192
    global_every: Count = 3  # ModernBERT, section 2.1.2, as are the next three
    local_window: Count = 128
    global_theta: Positive = 160_000.0
    local_theta: Positive = 10_000.0
    dropout: FractionBelowOne = 0.0
    attention_dropout: FractionBelowOne = 0.0
    norm_eps: Positive = 1e-5
    init_std: Positive = 0.02

    def __post_init__(self) -> None:
        check_heads(self.hidden_size, self.heads, 2)

    @property
    def embedding_size(self) -> int:
        """The hidden size: ModernBERT has no projection between embeddings and layers."""
        return self.hidden_size

    def window(self, layer: int) -> int | None:
        """The attention window of a layer; None for a global layer, which sees the whole document."""
        return self.local_window if layer % self.global_every else None


EncoderConfig = Annotated[ClassicConfig | ModernConfig, ByKind()]


def check_heads(hidden_size: int, heads: int, multiple: int) -> None:
    """Raise ``UserError`` unless all heads have the same size, a multiple of ``multiple``."""
    if heads < 1 or hidden_size % (heads * multiple):
        even = " of an even size" if multiple == 2 else ""
        raise UserError(f"hidden_size {hidden_size} cannot be cut into {heads} equal heads{even}")


def generator_config(config: EncoderConfig, width: float, depth: float) -> EncoderConfig:
    """A generator's config from an encoder's: ``width`` and ``depth`` are fractions of its hidden size and its layers.

    Classic, as in the original code: one head for each 64 of the hidden size, an intermediate size of four times the
    hidden size, and the encoder's embedding size, so that tables can be shared. Modern: heads of the encoder's size, an
    intermediate size in proportion, and embeddings as wide as the layers.

    Raises:
        UserError: the hidden size would be 0, or cannot be cut into heads.
    """
    layers, hidden = max(1, round(config.layers * depth)), round(config.hidden_size * width)
    if width == 1:
        return replace(config, layers=layers)
    if hidden < 1:
        raise UserError(f"generator_width {width:g} leaves nothing of a hidden size of {config.hidden_size}")
    if isinstance(config, ModernConfig):
        heads = max(1, hidden * config.heads // config.hidden_size)
        inner = max(1, round(config.intermediate_size * width))
        return replace(config, hidden_size=hidden, layers=layers, heads=heads, intermediate_size=inner)
    heads = max(1, hidden // 64)
    return replace(config, hidden_size=hidden, layers=layers, heads=heads, intermediate_size=4 * hidden)
