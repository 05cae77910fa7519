"""In bfloat16 the last product of every head of fine-tuning is not rounded to it: answers that are alike keep their
order."""

from dataclasses import replace

import pytest
import torch
import transformers
from torch import Tensor

from electra.interchange.encoders import Inputs, TowerReader, WholeModelReader
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.tasks.finetuning import heads, spans
from electra.tasks.finetuning.examples import ExampleBatch
from electra.tasks.finetuning.problem import FineTuning
from finetuning import CLASSIC, MODERN

ROWS, LENGTH, WIDTH = 200, 4, 32
HEADS = {
    f"{name}, {head}, {shape.kind}": (make, FineTuning(head=head), shape)
    for name, make in (("text", heads.build_text_logits), ("tokens", heads.build_token_logits))
    for head in ("paper", "transformers")
    for shape in (CLASSIC, MODERN)
} | {"text, all layers": (heads.build_text_logits, FineTuning(layers="all"), replace(CLASSIC, embedding_size=WIDTH))}


def batch() -> ExampleBatch:
    at = torch.arange(LENGTH).expand(ROWS, -1)
    window = [spans.Window(1, torch.arange(4).view(2, 2).numpy(), (1, 3), 1, 2)] * ROWS
    targets = spans.stack_targets(window, LENGTH)
    address = torch.zeros(ROWS, 2, dtype=torch.int32)
    return ExampleBatch(at, at, 0 * at, torch.ones_like(at), address, targets, torch.tensor(ROWS))


def near() -> Tensor:
    """States that differ by a hundredth of their size from row to row."""
    random = torch.Generator().manual_seed(1)
    return torch.randn(LENGTH, WIDTH, generator=random) + 0.01 * torch.randn(ROWS, LENGTH, WIDTH, generator=random)


def assert_told_apart(logits: Tensor) -> None:
    """Of each output."""
    assert logits.dtype == torch.float32
    for each in logits.reshape(ROWS, -1).unbind(1):
        assert len(each.unique()) > 0.9 * ROWS


@pytest.mark.parametrize("name", HEADS)
def test_texts_that_are_alike_are_told_apart(name: str) -> None:
    make, tuning, shape = HEADS[name]
    torch.manual_seed(0)
    reader = TowerReader(Tower.detection(shape, build_embeddings(shape)))
    head = make(reader, tuning, 3)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert_told_apart(head([near()] * 3, batch(), None))


def test_spans_that_are_alike_are_told_apart() -> None:
    torch.manual_seed(0)
    head, states = spans.ConditionedSpans(WIDTH, 0.1, spans.Answerability(WIDTH)), near()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert_told_apart(head.starts(states, batch())[:, 1:3])
        assert_told_apart(head.end(head.end.of_token(states), states[:, 1]))
        assert_told_apart(head.answerability(states, head.starts(states, batch())))


def test_texts_that_are_alike_to_a_model_of_transformers_are_told_apart() -> None:
    config = transformers.BertConfig(
        vocab_size=ROWS, hidden_size=WIDTH, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        num_labels=1,
    )  # fmt: skip
    torch.manual_seed(0)
    reader = WholeModelReader(transformers.BertForSequenceClassification(config))
    ids = torch.arange(ROWS)[:, None].expand(-1, LENGTH)
    inputs = Inputs(ids, 0 * ids, 0 * ids, torch.ones_like(ids))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert_told_apart(reader.hidden_states(inputs, None)[0])
