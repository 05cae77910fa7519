"""Texts as an encoder reads them: one document a row, between the special tokens, padded to the longest."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from electra.interchange.encoders import Inputs, Reader
from electra.tasks.finetuning.examples import Example, ExampleBatch, ExampleSource, encode_texts
from electra.tokenization.tokenizer import Tokenizer

AT_ONCE = 64  # texts

# The numbers of the texts that were read, the states of each layer, and the documents: 1 is text, 0 padding.
Read = tuple[Int64[Tensor, " rows"], list[Tensor], Int64[Tensor, "rows length"]]


def pad_texts(texts: Sequence[Sequence[int]], tokenizer: Tokenizer, multiple: int = 1) -> Inputs:
    """Texts of word pieces, to which special tokens are added, as one batch of inputs.

    The length is that of the longest, rounded up to a ``multiple``, so that a compiled or cached shape comes again.
    """
    special = tokenizer.ids
    length = -(-max(len(ids) + 2 for ids in texts) // multiple) * multiple
    ids = torch.full((len(texts), length), special["pad"])
    documents = torch.zeros_like(ids)
    for row, pieces in enumerate(texts):
        ids[row, : len(pieces) + 2] = torch.tensor([special["cls"], *pieces, special["sep"]])
        documents[row, : len(pieces) + 2] = 1
    return Inputs(ids, torch.arange(length).expand_as(ids), torch.zeros_like(ids), documents)


def batch_texts(
    texts: Sequence[tuple[str, str | None]], tokenizer: Tokenizer, length: int, rows: int = AT_ONCE
) -> list[ExampleBatch]:
    """Texts and pairs as batches of up to ``rows``, those of like length together; ``address`` has each text's number.

    Raises:
        UserError: as ``encode_texts``.
    """
    examples = [Example(ids, segments, None) for ids, segments in encode_texts(texts, tokenizer, length)]
    source = ExampleSource(examples, lambda chosen, _: ({}, len(chosen)), tokenizer.ids["pad"], rows, seed=0)
    return [source.batch(refs) for refs in source.split_by_length(rows)]


def read_batches(reader: Reader, batches: Sequence[ExampleBatch], device: torch.device) -> Iterator[Read]:
    """The states of each batch of ``batch_texts``, embeddings first, float [rows, length, size], on the device that the
    encoder is on. Dropout is off."""
    for batch in batches:
        on_device = batch.to(device)
        with torch.inference_mode():  # not around the yield, where it would hold for whoever asked
            layers = reader.hidden_states(on_device.inputs, None)
        yield batch.address[:, 1].long(), layers, on_device.documents
