"""What the attention of any objective is given, and the crop that COCO-LM's contrast reads."""

from dataclasses import fields
from pathlib import Path

import pytest
import torch
from torch import Tensor

from compositions import ENCODERS, EVERY, NAMES, batch, build, objective, packed
from electra.dataset.batches import Batch
from electra.dataset.layout import Layout, Packed, Paper
from electra.dataset.rows import Rows
from electra.dataset.shards import Shards
from electra.kernels.attention import operation as attention
from electra.model import blocks
from electra.objectives.build import CorpusFacts
from electra.objectives.contrast import CROP_SHARE, crop_rows
from electra.objectives.pretrainer import derive_row_keys
from electra.objectives.view import View

LAYOUTS: dict[str, Layout] = {"paper": Paper(), "packed": Packed()}


def blocks_of(documents: Tensor) -> int:
    """How many stretches of one number a row has."""
    return 1 + int((documents[1:] != documents[:-1]).sum())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("kind", "encoder"), EVERY, ids=NAMES)
def test_the_tokens_of_a_document_stand_side_by_side(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, kind: str, encoder: str, layout: str
) -> None:
    """The kernels read nothing beyond a document's end."""
    shards, seen = Shards.open(prepared, "train"), list[Tensor]()

    def listening(q: Tensor, k: Tensor, v: Tensor, documents: Tensor, *rest: object) -> Tensor:
        seen.append(documents)
        return attention.attention(q, k, v, documents, *rest)

    monkeypatch.setattr(blocks, "attention", listening)
    corpus = CorpusFacts(
        shards.mask_id, lambda: torch.ones(1000, dtype=torch.bool), lambda: torch.full((1000,), 1 / 1000)
    )  # fmt: skip
    rows = Rows(shards, LAYOUTS[layout], 32, seed=1)
    refs, _ = rows.take(rows.start, 24)
    batch_read = rows.batch(refs)
    for _, stage in objective(kind, encoder).stages:
        shape = {**vars(ENCODERS[encoder]), "vocab_size": 1000}
        pretrainer = stage.build(type(ENCODERS[encoder])(**shape), corpus, seed=1)
        pretrainer.results(batch_read, derive_row_keys(1, batch_read), True)
    assert layout == "paper" or int(batch_read.documents.max()) > 1, "several documents in a row"
    assert seen
    for documents in torch.cat(seen):
        assert blocks_of(documents) == len(documents.unique())


def view_of(rows: Batch) -> View:
    return build(objective("coco-lm", "classic")).corrupt(rows, derive_row_keys(1, rows), False)[0]


def test_a_crop_is_the_first_token_and_next_to_it_a_stretch_of_the_text() -> None:
    rows = packed(32)
    rows.segments[0, 9:] = 1
    rows.segments[1, 5:] = 1
    starts: list[set[int]] = [set(), set()]
    for epoch in range(60):
        rows.address[:, 0] = epoch
        crop = crop_rows(view_of(rows))
        for row, first in enumerate((32, 16)):
            kept = -int(-(first - 1) * CROP_SHARE // 1)
            assert crop.documents[row].tolist() == [1] * (1 + kept) + [0] * (31 - kept)
            assert crop.positions[row, : 1 + kept].tolist() == list(range(1 + kept))
            text = rows.ids[row].tolist()
            ids, segments = crop.ids[row, : 1 + kept].tolist(), crop.segments[row, : 1 + kept].tolist()
            (start,) = [at for at in range(1, first - kept + 1) if text[at : at + kept] == ids[1:]]
            assert ids[0] == text[0] and segments == rows.segments[row, [0, *range(start, start + kept)]].tolist()
            starts[row].add(start)
    assert starts == [{1, 2, 3, 4}, {1, 2}], "each start comes, and none at which the text would end too early"


def test_a_crop_is_a_function_of_the_rows_address() -> None:
    rows = batch(rows=16)
    whole = crop_rows(view_of(rows))
    part = crop_rows(view_of(Batch(*(getattr(rows, field.name)[6:9] for field in fields(Batch)))))
    for one, other in zip(whole, part, strict=True):
        assert torch.equal(one[6:9], other)


def test_what_is_no_text_has_no_crop() -> None:
    """A row of padding alone, and one of a first token alone."""
    rows = batch(rows=2)
    rows.documents[0], rows.documents[1, 1:] = 0, 0
    rows.choosable[:] = False
    assert crop_rows(view_of(rows)).documents.tolist() == [[0] * 32, [1] + [0] * 31]
