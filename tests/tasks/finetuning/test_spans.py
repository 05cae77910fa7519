"""Heads for spans keep to the context, and what they compute is what they say."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from electra.interchange.encoders import TowerReader
from electra.model.config import ClassicConfig
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.tasks.finetuning import heads, spans
from electra.tasks.finetuning.examples import ExampleBatch
from electra.tasks.finetuning.problem import FineTuning, ProblemHead

WIDTH, LENGTH = 16, 72
CONFIG = ClassicConfig(
    vocab_size=50, hidden_size=WIDTH, layers=1, heads=2, intermediate_size=16, embedding_size=8, max_positions=LENGTH
)
# first context position, tokens, own, start, end
SHAPES = [(4, 60, (4, 64), 10, 12), (5, 50, (20, 40), 0, 0), (10, 3, (10, 11), 10, 12), (3, 0, (3, 3), 0, 0)]


def batch() -> ExampleBatch:
    """The rows of ``SHAPES``, with padding in all but the first."""
    windows = [spans.Window(first, torch.arange(2 * tokens).view(tokens, 2).numpy(), own, start, end)
             for first, tokens, own, start, end in SHAPES]  # fmt: skip
    text = torch.tensor([[first + tokens + 1] for first, tokens, *_ in SHAPES])
    zeros = torch.zeros(len(SHAPES), LENGTH, dtype=torch.int64)
    documents = (torch.arange(LENGTH) < text).long()
    count = torch.tensor(len(windows))
    return ExampleBatch(zeros, zeros, zeros, documents, zeros[:, :2].int(), spans.stack_targets(windows, LENGTH), count)


def conditioned(answerability: bool = True) -> spans.ConditionedSpans:
    torch.manual_seed(0)
    head = spans.ConditionedSpans(WIDTH, 0.1, spans.Answerability(WIDTH) if answerability else None)
    for value in head.parameters():
        torch.nn.init.normal_(value, std=0.3)
    return head


def plain() -> spans.PlainSpans:
    torch.manual_seed(0)
    reader = TowerReader(Tower.detection(CONFIG, build_embeddings(CONFIG)))
    head = spans.PlainSpans(heads.build_token_logits(reader, FineTuning(head="transformers"), 2, "qa_outputs"))
    for value in head.parameters():
        torch.nn.init.normal_(value)
    return head


def states() -> list[Tensor]:
    return [torch.randn(len(SHAPES), LENGTH, WIDTH, generator=torch.Generator().manual_seed(1))]


@pytest.mark.parametrize("head", [conditioned(), conditioned(False), plain()], ids=["paper", "paper 1.1", "plain"])
def test_the_loss_reaches_every_parameter(head: torch.nn.Module) -> None:
    assert isinstance(head, ProblemHead)
    for keys in (None, torch.arange(len(SHAPES), dtype=torch.int32)):
        head.zero_grad()
        loss = head.loss(states(), batch(), keys)
        loss.backward()
        assert loss.dtype == torch.float32 and loss.isfinite()
        assert all(value.grad is not None and value.grad.any() for value in head.parameters())


@pytest.mark.parametrize("head", [conditioned(), plain()], ids=["paper", "plain"])
def test_answers_keep_to_their_window(head: torch.nn.Module) -> None:
    answers = head.answers(states(), batch())
    assert [len(each.scores) for each in answers] == [60, 60, 3, 0]
    for (first, tokens, own, *_), each in zip(SHAPES, answers, strict=True):
        assert all(own[0] <= start < own[1] and start <= end < first + tokens
                   for start, end in zip(each.starts, each.ends, strict=True))  # fmt: skip
        assert all(each.ends - each.starts < 30)
        assert list(each.scores) == sorted(each.scores, reverse=True)
        assert len(set(zip(each.starts, each.ends, strict=True))) == len(each.scores)


@torch.no_grad()
def test_the_split_layer_is_the_layer_on_both_states_side_by_side() -> None:
    end, hidden = conditioned().end, states()[0]
    start = hidden[:, 7]
    joined = torch.cat([hidden, start[:, None].expand_as(hidden)], dim=2)
    weight = torch.cat([end.of_token.weight, end.of_start.weight], dim=1)
    expected = F.linear(F.gelu(F.linear(joined, weight, end.of_token.bias)), end.out.weight, end.out.bias)[:, :, 0]
    torch.testing.assert_close(end(end.of_token(hidden), start), expected)


@torch.no_grad()
def test_conditioned_scores_and_loss_by_hand() -> None:
    head, hidden, examples = conditioned(), states()[0], batch()
    row, (first, tokens, own, start, end) = 0, SHAPES[0]
    inside = slice(first, first + tokens)
    starts = head.start(hidden)[row, inside, 0].log_softmax(0)
    ends = lambda at: head.end(head.end.of_token(hidden[:1]), hidden[:1, at])[0, inside].log_softmax(0)  # noqa: E731
    mean = (starts.exp()[:, None] * hidden[row, inside]).sum(0)
    inner = head.answerability.dense(torch.cat([hidden[row, 0], mean]))
    logit = head.answerability.out(F.gelu(inner))[0]
    best = {(at, last): starts[at - first] + ends(at)[last - first]
            for at in range(*own) for last in range(at, min(at + 30, first + tokens))}  # fmt: skip
    answer = head.answers([hidden], examples)[row]
    place = (int(answer.starts[0]), int(answer.ends[0]))
    assert place == max(best, key=lambda each: best[each])
    assert answer.scores[0] == pytest.approx(float(best[place] + F.logsigmoid(logit)), abs=1e-5)
    assert answer.null == pytest.approx(-float(logit), abs=1e-5) and answer.rival == 0
    first_row = examples.replaced(
        {name: torch.tensor(1) if name == "count" else value[:1] for name, value in examples.tensors().items()}
    )
    expected = -best[start, end] / 2 - 0.5 * F.logsigmoid(logit)
    torch.testing.assert_close(head.loss([hidden[:1]], first_row, None), expected)


def test_a_window_without_answer_teaches_only_that() -> None:
    head, examples = conditioned(), batch()
    examples.targets["answerable"][:] = 0
    head.loss(states(), examples, None).backward()
    assert not any(value.grad.any() for value in head.end.parameters())


@torch.no_grad()
def test_plain_scores_and_loss_by_hand() -> None:
    head, hidden, examples = plain(), states()[0], batch()
    logits = head.body([hidden], examples, None)
    total = torch.tensor(0.0)
    for row, (first, tokens, own, start, end) in enumerate(SHAPES):
        text = logits[row, : first + tokens + 1]
        total -= (text[:, 0].log_softmax(0)[start] + text[:, 1].log_softmax(0)[end]) / 2
        best = {(at, last): float(text[at, 0] + text[last, 1])
                for at in range(*own) for last in range(at, min(at + 30, first + tokens))}  # fmt: skip
        answer = head.answers([hidden], examples)[row]
        assert answer.null == pytest.approx(float(text[0].sum()), abs=1e-5)
        assert answer.rival == pytest.approx(max(best.values(), default=-float("inf")), abs=1e-5)
        if best:
            assert (answer.starts[0], answer.ends[0]) == max(best, key=lambda each: best[each])
    torch.testing.assert_close(head.loss([hidden], examples, None), total)
