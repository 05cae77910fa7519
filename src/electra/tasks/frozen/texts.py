"""Texts as a tower reads them: one document a row, [CLS] text [SEP], padded to the longest."""

from collections.abc import Sequence

import torch

from electra.interchange.encoders import Inputs
from electra.tokenization import Tokenizer


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
