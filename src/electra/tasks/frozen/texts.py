"""Texts as a tower reads them: one document a row, [CLS] text [SEP], padded to the longest."""

from collections.abc import Sequence

import torch

from electra.interchange.encoders import Inputs
from electra.tokenization import Tokenizer


def pad_texts(pieces: Sequence[Sequence[int]], tokenizer: Tokenizer, multiple: int = 1) -> Inputs:
    """Word pieces without special tokens, which are added.

    The length is that of the longest, rounded up to a ``multiple``, so that a compiled or cached shape comes again.
    """
    special = tokenizer.ids
    length = -(-max(len(ids) + 2 for ids in pieces) // multiple) * multiple
    ids = torch.full((len(pieces), length), special["pad"])
    documents = torch.zeros_like(ids)
    for row, found in enumerate(pieces):
        ids[row, : len(found) + 2] = torch.tensor([special["cls"], *found, special["sep"]])
        documents[row, : len(found) + 2] = 1
    return Inputs(ids, torch.arange(length).expand_as(ids), torch.zeros_like(ids), documents)
