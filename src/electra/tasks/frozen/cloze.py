"""A cloze probe: what a fresh head recovers of chosen tokens from a frozen encoder's states of the text around them.

An encoder that never saw [MASK], as a detector did not, is not judged by a vector that it knows nothing of: the vector
in the place of a chosen token is learned with the head, or a random token stands there. Rows, positions, head, steps
and order are the same for all encoders. What it says favours masked language modelling nevertheless, which is why it
decides nothing alone.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from electra.dataset.batches import Batch
from electra.dataset.data import Data
from electra.dataset.layout import Packed
from electra.dataset.rows import Rows
from electra.engine.optim import LinearDecay
from electra.interchange.encoders import Inputs, Reader, TowerReader, TransformersReader
from electra.kernels.random import fold, uniform
from electra.objectives.masking import Mask
from electra.objectives.pretrainer import derive_row_keys
from electra.objectives.view import END
from electra.tasks.frozen.held_out import split_into_runs

RATE = 0.15  # of the tokens that are chosen
LENGTH, ROWS, STEPS, JUDGED_ROWS = 128, 16, 300, 256
WIDTH = 128  # of the head
LEARNING_RATE, WARMUP = 2e-3, 30
SEED, RANDOM_TOKEN = 0, 1 << 16  # the last: a purpose of random numbers, beside those of ``objectives.view``

Blank = Literal["learned", "random"]  # what stands in the place of a chosen token


class Cloze(NamedTuple):
    """Chosen positions of a batch of rows: ``inputs`` with something else there, and the tokens that were there."""

    inputs: Inputs
    rows: Int[Tensor, " chosen"]
    positions: Int[Tensor, " chosen"]
    tokens: Int[Tensor, " chosen"]


class ClozeHead(nn.Module):
    """All layers' states at a position, each normed → logits of the token; with it, the vector of a blank."""

    def __init__(self, sizes: list[int], blank: Float[Tensor, " embedding"], vocab: int):
        super().__init__()
        self.blank = nn.Parameter(blank)
        self.inner = nn.Linear(sum(sizes), WIDTH)
        self.outer = nn.Linear(WIDTH, vocab)

    def forward(self, states: list[Tensor]) -> Float[Tensor, "chosen vocab"]:
        normed = torch.cat([F.layer_norm(layer.float(), layer.shape[-1:]) for layer in states], dim=1)
        return self.outer(F.layer_norm(F.gelu(self.inner(normed)), (WIDTH,)))


def probe_cloze(reader: TowerReader | TransformersReader, data: Data, device: torch.device) -> dict[str, float]:
    """The share of held-out tokens that a fresh head gets right, by what stands in their place: "learned vector" and
    "random token". The encoder's parameters are left as they are, and need no gradient afterwards."""
    reader.to(device).requires_grad_(False)
    return {
        "learned vector": fit_and_judge(reader, data, "learned", device),
        "random token": fit_and_judge(reader, data, "random", device),
    }


def fit_and_judge(reader: TowerReader | TransformersReader, data: Data, blank: Blank, device: torch.device) -> float:
    """Train a head on rows of the train split; returns its accuracy on rows of the held-out split."""
    table = find_token_table(reader)
    torch.manual_seed(SEED)
    vocab, length = data.vocab_size, min(LENGTH, reader.longest)
    head = ClozeHead(reader.sizes, table(torch.arange(vocab, device=device)).mean(0).cpu(), vocab).to(device)
    mask = Mask(data.train.mask_id, RATE, 1.0)
    optimizer, schedule = torch.optim.AdamW(head.parameters(), LEARNING_RATE), LinearDecay(warmup=WARMUP)

    def put_blanks(module: nn.Module, arguments: tuple, output: Tensor) -> Tensor:
        blanks = (arguments[0] == mask.mask_id)[:, :, None]
        return torch.where(blanks, head.blank.to(output.dtype), output)

    hook = table.register_forward_hook(put_blanks)
    try:
        for step, batch in enumerate(iterate_batches(data, "train", STEPS * ROWS, length)):
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * schedule.factor(step, STEPS)
            cloze = choose_tokens(batch.to(device), mask, blank, vocab)
            optimizer.zero_grad()
            F.cross_entropy(head(read_chosen(reader, cloze)), cloze.tokens).backward()
            optimizer.step()
        right = count = 0
        with torch.inference_mode():
            for batch in iterate_batches(data, "held-out", JUDGED_ROWS, length):
                cloze = choose_tokens(batch.to(device), mask, blank, vocab)
                right += int((head(read_chosen(reader, cloze)).argmax(1) == cloze.tokens).sum())
                count += len(cloze.tokens)
    finally:
        hook.remove()
    return right / max(count, 1)


def find_token_table(reader: TowerReader | TransformersReader) -> nn.Module:
    """The module that turns ids of tokens into vectors."""
    return reader.embeddings.tokens if isinstance(reader, TowerReader) else reader.model.get_input_embeddings()


def iterate_batches(data: Data, split: Literal["train", "held-out"], count: int, length: int) -> Iterator[Batch]:
    """Rows of a split, ``ROWS`` at a time: ``count`` of train, epoch after epoch; of held-out at most as many as there
    are."""
    rows = Rows(data.split(split), Packed(), length, SEED)
    if split == "held-out":
        yield from map(rows.batch, split_into_runs(list(islice(rows.iterate_epoch(0), count)), ROWS))
        return
    place = rows.start
    for _ in range(count // ROWS):
        refs, place = rows.take(place, ROWS)
        yield rows.batch(refs)


def choose_tokens(batch: Batch, mask: Mask, blank: Blank, vocab: int) -> Cloze:
    """Choose ``RATE`` of a batch's tokens, by its rows' addresses, and put [MASK]'s or random tokens' ids there."""
    keys = derive_row_keys(SEED, batch)
    chosen, valid = mask.choose(batch, keys, END)
    ids = torch.full_like(chosen, mask.mask_id)
    if blank == "random":
        ids = (uniform(fold(keys, RANDOM_TOKEN), chosen.shape[1]) * vocab).long().clamp(max=vocab - 1)
    rows, slots = valid.nonzero(as_tuple=True)
    positions = chosen[rows, slots]
    written = mask.write(batch.ids, chosen, valid, ids)
    inputs = Inputs(written, batch.positions, batch.segments, batch.documents)
    return Cloze(inputs, rows, positions, batch.ids[rows, positions])


def read_chosen(reader: Reader, cloze: Cloze) -> list[Tensor]:
    """Each layer's states at the chosen positions."""
    return [layer[cloze.rows, cloze.positions] for layer in reader.hidden_states(cloze.inputs, None)]
