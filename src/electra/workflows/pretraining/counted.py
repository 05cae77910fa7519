"""What a run can begin with that counting its data gives: embeddings by neighbours, output biases by frequencies."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from electra.dataset.shards import Shards
from electra.engine.parallel import Parallel
from electra.model.embeddings import ClassicEmbeddings, ModernEmbeddings
from electra.model.heads import TokenHead
from electra.objectives.pretrainer import Pretrainer

UNSEEN = 1e-8  # the frequency of a token that the data has not


def begin_from_counts(pretrainer: Pretrainer, shards: Shards, seed: int, parallel: Parallel) -> None:
    """``set_counted_weights`` by the first process; the others get its weights. Counted by each, on machines that round
    differently, they would not be the same.

    Raises:
        UserError: a shard is damaged.
    """
    parallel.ask_first(lambda: set_counted_weights(pretrainer, shards, seed))
    parameters = dict(pretrainer.named_parameters())
    with torch.no_grad():
        for name, value in parallel.broadcast_tensors(parameters).items():
            parameters[name].copy_(value)


@torch.no_grad()
def set_counted_weights(model: nn.Module, shards: Shards, seed: int) -> None:
    """Set every table of a model's token embeddings to what ``factorize_neighbours`` says of the data, and the biases
    of every head that predicts tokens to the logarithms of the tokens' frequencies.

    Rows of tokens without neighbours, special ones among them, stay as they are.

    Raises:
        UserError: a shard is damaged.
    """
    from electra.dataset.neighbours import count_neighbours, factorize_neighbours  # needs scipy and scikit-learn

    print("embeddings: counted from the data, which tokens stand near each other")
    neighbours = count_neighbours(shards)
    # Each occurrence of a token has about as many neighbours. Of documents of one token nothing has any.
    frequencies = torch.from_numpy(neighbours.sum(axis=1) / max(1.0, neighbours.sum()))
    for part in model.modules():
        if isinstance(part, ClassicEmbeddings | ModernEmbeddings) and isinstance(part.tokens, nn.Embedding):
            table = part.tokens.weight
            set_rows(table, torch.from_numpy(factorize_neighbours(neighbours, table.shape[1], seed)))
        elif isinstance(part, TokenHead):
            part.bias.copy_(frequencies.clamp(min=UNSEEN).log())


@torch.no_grad()
def set_rows(table: Float[Tensor, "vocab size"], vectors: Float[Tensor, "vocab size"]) -> None:
    """Replace the rows of ``table`` for which there is a vector. All are scaled by one number, so that their mean
    square is that of the table before. (Larger rows lose less at first, and in longer runs the layers above them
    forget what a text is about: results/recipes.)
    """
    vectors = vectors.to(table.device)  # a later stage's is on the GPU already if its steps were measured
    known = vectors.norm(dim=1) > 0
    table[known] = vectors[known] * (table.square().mean() / vectors[known].square().mean()).sqrt()
