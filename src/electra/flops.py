"""Floating-point operations from shapes, counted in two ways that must not be mixed.

*Ours*: only the matrix products, 2·m·n·k each; the backward pass is twice the forward pass; reading a row of a table is
free. ``torch.utils.flop_counter.FlopCounterMode`` counts the same.

*The paper's* (``published_flops``): besides the products also biases, norms, softmax and dropout; a table look-up
as a dense product with a one-hot vector; the backward pass as once the forward pass. It is what the paper's tables
print.

Configs are those of ``model.config``; only the attributes of ``EncoderShape`` are read.
"""

from typing import Protocol, runtime_checkable


@runtime_checkable
class EncoderShape(Protocol):
    """What is read from an encoder's config, classic or modern."""

    @property
    def kind(self) -> str: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def layers(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def intermediate_size(self) -> int: ...
    @property
    def embedding_size(self) -> int: ...


def encoder_flops(config: EncoderShape, length: int) -> int:
    """The forward pass of one row of ``length`` tokens through the embeddings' projection and the layers.

    Attention is counted over all pairs of positions, also padding and pairs outside a window.
    """
    hidden, inner = config.hidden_size, config.intermediate_size
    feed_forward = 2 if config.kind == "classic" else 3  # matrices; GeGLU has a third one for its gate
    layer = length * 2 * hidden * (4 * hidden + feed_forward * inner) + 4 * length**2 * hidden
    projection = 2 * length * config.embedding_size * hidden if config.embedding_size != hidden else 0
    return config.layers * layer + projection


def token_head_flops(config: EncoderShape, picked: int) -> int:
    """The forward pass of ``picked`` positions through the head with logits over the vocabulary."""
    return 2 * picked * config.embedding_size * (config.hidden_size + config.vocab_size)


def detection_head_flops(config: EncoderShape, positions: int) -> int:
    """The forward pass of ``positions`` through the detection head."""
    outputs = 1 if config.kind == "classic" else 2
    return 2 * positions * config.hidden_size * (config.hidden_size + outputs)


# Operations per element, as in the paper's script.
SOFTMAX, DROPOUT, NORM, GELU = 5, 4, 5, 8


def published_flops(
    discriminator: EncoderShape, generator: EncoderShape, rows: int, length: int, steps: int, rate: float = 0.15625
) -> float:
    """ELECTRA pre-training as the authors' script counts it: 1.29e18 for Small, 6.42e19 for Base.

    ``rate`` is the share of positions with a softmax over the vocabulary: 20 of 128 for the published runs. Only for
    the classic encoder, which is the only one that the script counts.
    """
    outputs = _published_detection(discriminator) + rate * _published_softmax(generator)
    bodies = _published_body(discriminator, length) + _published_body(generator, length)
    return 2.0 * rows * steps * length * (outputs + bodies)


def _published_body(config: EncoderShape, length: int) -> int:
    """Operations per token in embeddings and layers, forward."""
    h, i, e, pairs = config.hidden_size, config.intermediate_size, config.embedding_size, length * config.heads
    products = 2 * h * (4 * h + 2 * i + 2 * length)
    attention = (SOFTMAX + DROPOUT + 1) * pairs
    biases, dropouts_and_residuals = 5 * h + i, 2 * (DROPOUT + 1) * h
    norms = NORM * h + NORM  # the script counts the norm after attention once a token, not once a feature
    layer = products + attention + biases + dropouts_and_residuals + norms + GELU * i
    look_ups = 2 * e * (config.vocab_size + length + 2) + 2 * e
    projection = 2 * h * e + h if e != h else 0
    return config.layers * layer + look_ups + (NORM + DROPOUT) * e + projection


def _published_softmax(config: EncoderShape) -> int:
    """Operations per chosen position in the generator's head, forward."""
    e, vocabulary = config.embedding_size, config.vocab_size
    return 2 * e * vocabulary + 2 * config.hidden_size * e + (1 + GELU + NORM) * e + (SOFTMAX + 2) * vocabulary


def _published_detection(config: EncoderShape) -> int:
    """Operations per token in the discriminator's head, forward."""
    h = config.hidden_size
    return 2 * h * h + (1 + GELU + 2) * h
