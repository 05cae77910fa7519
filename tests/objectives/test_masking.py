"""Each mask by itself: what it may choose, how often it chooses what, and that ``counts`` knows it before.

``Mask`` is compared with the method spelled out in tests/test_reference.py.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from electra.dataset.batches import Batch
from electra.kernels.random import fold, uniform
from electra.objectives.masking import Mask, WholeWords, WithReplacement
from electra.objectives.pretrainer import derive_row_keys
from electra.objectives.view import KEEP, View

PAD, CLS, SEP, MASK, FIRST, INSIDE, VOCABULARY = 0, 2, 3, 4, 5, 100, 200  # FIRST … begin words, INSIDE … go on
BEGINS = (torch.arange(VOCABULARY) >= FIRST) & (torch.arange(VOCABULARY) < INSIDE)
UNLIKELY = 1e-4  # the p-value below which a distribution is another one; seeds are fixed, so it fails always or never
RATES = [(0.15, 0.25), (0.25, 0.15)]


def whole_words(rate: float, rate_end: float = 0.0) -> WholeWords:
    return WholeWords(BEGINS, MASK, rate, 0.85, rate_end)


def with_replacement(rate: float, rate_end: float = 0.0) -> WithReplacement:
    return WithReplacement(MASK, rate, 0.85, rate_end)


def plain(rate: float, rate_end: float = 0.0) -> Mask:
    return Mask(MASK, rate, 0.85, rate_end)


def words(sizes: Sequence[int]) -> list[int]:
    """Ids of words of so many tokens; 0 stands for a [SEP] between segments."""
    return [token for size in sizes for token in ([FIRST] + [INSIDE] * (size - 1) if size else [SEP])]


def batch_of(texts: Sequence[Sequence[int]], length: int) -> Batch:
    """Rows [CLS] text [SEP] and padding."""
    ids = torch.full((len(texts), length), PAD)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text) + 2] = torch.tensor([CLS, *text, SEP])
    documents = (ids != PAD).long()
    at = torch.arange(len(ids), dtype=torch.int32)
    address = torch.stack([0 * at, 0 * at, at], 1)
    return Batch(ids, documents.cumsum(1) - 1, 0 * ids, documents, ids >= FIRST, address)


def mixed(rows: int, length: int) -> Batch:
    """Rows of all fillings, with words of one to six tokens; a text may begin in a word, and a [SEP] cut one."""
    draw = np.random.default_rng(length)
    texts = []
    for _ in range(rows):
        text = words(draw.integers(1, 7, length).tolist())
        text.insert(int(draw.integers(1, length)), SEP)
        first = int(draw.integers(0, 4))
        texts.append(text[first : first + int(draw.integers(1, length - 1))])
    return batch_of(texts, length)


def view_of(mask: Mask, batch: Batch, seed: int = 5) -> View:
    return mask(batch, derive_row_keys(seed, batch), True)[0]


def where(view: View) -> Tensor:
    """bool [rows, length]: the chosen positions."""
    return view.at_chosen(torch.ones_like(view.valid)) > 0


# All of them


@pytest.mark.parametrize("make", [plain, whole_words, with_replacement])
@pytest.mark.parametrize("rate", [0.02, 0.15, 0.5])
def test_only_words_are_chosen_as_many_as_was_said_before_and_never_more_than_wanted(make, rate: float) -> None:
    mask, batch = make(rate), mixed(500, 64)
    keys = derive_row_keys(5, batch)
    view = view_of(mask, batch)
    counts = mask.counts(batch, keys, torch.tensor(1.0))
    assert view.batch.choosable.gather(1, view.chosen)[view.valid].all()
    assert int(view.valid.sum()) == counts["chosen"]
    tokens, choosable = (batch.documents > 0).sum(1), batch.choosable.sum(1)
    expected = [max(1, min(round(rate * n), int((rate + 0.005) * 64))) for n in tokens.tolist()]
    assert (view.valid.sum(1) <= torch.tensor(expected).minimum(choosable)).all()
    assert (view.ids == batch.ids)[~where(view)].all()
    assert counts == counts | {"words": int(choosable.sum()), "all": int(tokens.sum()), "rows": 500}


@pytest.mark.parametrize("make", [plain, whole_words, with_replacement])
def test_a_rate_of_1_chooses_every_word_of_a_long_row(make) -> None:
    batch = mixed(4, 256)
    assert (view_of(make(1.0), batch).valid.sum(1) == batch.choosable.sum(1)).all()


@pytest.mark.parametrize("make", [plain, whole_words, with_replacement])
@pytest.mark.parametrize(("first", "last"), RATES)
@pytest.mark.parametrize("length", [33, 64, 128])
def test_a_rate_that_changes_is_at_each_moment_the_constant_one(make, first: float, last: float, length: int) -> None:
    batch = mixed(200, length)
    keys, changing = derive_row_keys(5, batch), make(first, last)
    for progress, rate in ((0.0, first), (0.5, 0.2), (1.0, last)):
        now, constant = torch.tensor(progress), make(rate)
        view, _ = changing(batch, keys, True, now)
        assert torch.equal(changing.row_counts(batch, now), constant.row_counts(batch, now))
        assert changing.counts(batch, keys, now) == constant.counts(batch, keys, now)
        assert int(view.valid.sum()) == changing.counts(batch, keys, now)["chosen"]
        assert torch.equal(view.valid.sum(1), view_of(constant, batch).valid.sum(1))


# Positions that may be drawn twice


@pytest.mark.parametrize("name", ["full128", "full512_large"])
def test_positions_are_drawn_twice_as_often_as_in_the_original(shared: Path, name: str) -> None:
    """Full rows: how many places a row's draws fall on, how many of them are [MASK], and how often a place is drawn."""
    golden = json.loads((shared / "oracle" / "golden_masking.json").read_text())
    original = next(case for case in golden if case["name"] == name)
    length, histograms = original["seq_len"], original["hist"]
    batch = batch_of([words([1] * 50 + [0] + [1] * (length - 53))] * 6000, length)
    view = view_of(with_replacement(original["mask_prob"]), batch)
    times = view.at_chosen(torch.ones_like(view.valid))
    assert Counter(view.valid.sum(1).tolist()) == {int(k): 6000 for k in histograms["num_masked_slots"]}
    assert alike((times > 0).sum(1), histograms["num_unique_positions"])
    assert alike((view.ids == MASK).sum(1), histograms["num_unique_replaced_by_MASK"])
    assert alike(times[times > 0].long(), histograms["multiplicity_of_masked_position"])
    share = float((times > 0).sum() / times.numel())  # 13.8 % at 0.15 and 128
    assert share == pytest.approx(original["unique_over_tokens"], abs=2e-4)


def alike(values: Tensor, original: Mapping[str, int]) -> bool:
    """Whether whole numbers are distributed as in the original's histogram; those that are rare are one class."""
    ours, theirs = Counter(values.tolist()), Counter({int(value): count for value, count in original.items()})
    both = np.array([[ours[value], theirs[value]] for value in ours | theirs])
    rare = both.sum(1) < 20
    classes = [*both[~rare], *([both[rare].sum(0)] if rare.any() else [])]
    return stats.chi2_contingency(classes).pvalue > UNLIKELY


def test_as_many_are_drawn_as_in_the_original_at_every_length(shared: Path) -> None:
    golden = json.loads((shared / "oracle" / "golden_masking.json").read_text())
    slots = {int(n): k for case in golden if case["seq_len"] == 128 for n, k in case["hist"]["slots_by_len"].items()}
    batch = batch_of([words([1] * (n - 2)) for n in slots], 128)
    assert with_replacement(0.15).row_counts(batch, torch.tensor(1.0)).tolist() == list(slots.values())


def test_every_position_is_equally_likely_at_each_draw() -> None:
    text = words([1] * 20 + [0] + [1] * 15)
    batch = batch_of([text] * 20_000, 48)
    view = view_of(with_replacement(0.15), batch)
    assert view.valid[:, :6].all() and not view.valid[:, 6:].any()
    choosable = batch.choosable[0].numpy()
    for slot in range(6):
        often = np.bincount(view.chosen[:, slot], minlength=48)
        assert not often[~choosable].any()
        assert stats.chisquare(often[choosable]).pvalue > UNLIKELY
    pairs = np.bincount(35 * rank(view.chosen[:, 0], choosable) + rank(view.chosen[:, 1], choosable), minlength=35**2)
    assert stats.chisquare(pairs).pvalue > UNLIKELY, "two draws know nothing of one another"


def rank(at: Tensor, choosable: np.ndarray) -> np.ndarray:
    """Which of the choosable positions each is."""
    return (choosable.cumsum() - 1)[at.numpy()]


def test_a_place_written_twice_gets_the_floor_of_the_mean_of_what_counts() -> None:
    ids = torch.tensor([[CLS, 50, 60, 70, 80, SEP]])
    chosen, tokens = torch.tensor([[1, 1, 2, 3, 1, 4]]), torch.tensor([[7, 10, 9, 99, 12, 30]])
    counts = torch.tensor([[True, True, True, False, False, True]])
    assert with_replacement(0.5).write(ids, chosen, counts, tokens).tolist() == [[CLS, 8, 9, 70, 30, SEP]]


def test_a_place_drawn_twice_is_masked_if_either_draw_says_so() -> None:
    batch = batch_of([words([1] * 6)] * 2000, 8)
    view = view_of(with_replacement(0.5), batch)
    draws = uniform(fold(view.keys, KEEP), view.chosen.shape[1]) < 0.85
    assert (view.at_chosen(torch.ones_like(draws)) > 1).any()
    assert torch.equal(view.ids == MASK, view.at_chosen(draws) > 0)


def test_draws_of_one_place_are_sampled_each_for_itself() -> None:
    mask = with_replacement(0.25)
    names = mask.slot_names(view_of(mask, mixed(4, 64)).chosen)
    assert all(len(row.unique()) == mask.slots(64) for row in names)


# Whole words


@pytest.mark.parametrize("sizes", [(2, 2, 2, 2), (1, 1, 2, 1, 3), (1, 2, 3, 1, 1), (5, 1, 1, 1), (8,), (3, 0, 3, 1)])
def test_words_are_chosen_in_a_random_order_as_long_as_the_next_one_fits(sizes: tuple[int, ...]) -> None:
    """Every set of positions as often as the rule says of all the orders that the words can come in."""
    batch = batch_of([words(sizes)] * 20_000, 12)
    view = view_of(whole_words(0.4), batch)
    counts = Counter(map(tuple, where(view).int().tolist()))
    expected = by_the_rule(sizes, count=4, length=12)
    assert int(batch.documents[0].sum()) == 10 and counts.keys() <= expected.keys()
    often = [counts[positions] for positions in expected]
    assert len(expected) == 1 or stats.chisquare(often, 20_000 * np.array([*expected.values()])).pvalue > UNLIKELY


def by_the_rule(sizes: Sequence[int], count: int, length: int) -> Mapping[tuple[int, ...], float]:
    """The probability of each set of chosen positions, from every order of the words."""
    starts = np.cumsum([1, *(max(size, 1) for size in sizes)])
    spans = [(int(start), size) for start, size in zip(starts, sizes, strict=False) if size]
    sets: Counter = Counter()
    for order in permutations(spans):
        chosen: list[int] = []
        for start, size in order:
            if len(chosen) + size > count:
                break
            chosen += range(start, start + size)
        first, size = order[0]
        sets[tuple(int(at in (chosen or range(first, first + count))) for at in range(length))] += 1
    return {positions: times / math.factorial(len(spans)) for positions, times in sets.items()}


def test_no_word_is_cut_but_a_first_one_that_is_too_long() -> None:
    batch = mixed(2000, 64)
    mask = whole_words(0.15)
    chosen, counts = where(view_of(mask, batch)), mask.row_counts(batch, torch.tensor(1.0)).tolist()
    cut = 0
    for row in range(2000):
        taken = [chosen[row, list(word)].int().tolist() for word in spans(batch.ids[row].tolist())]
        for word in taken:
            if 0 < sum(word) < len(word):
                cut += 1
                assert sum(map(sum, taken)) == sum(word) == counts[row] < len(word)
                assert word == sorted(word, reverse=True), "its first tokens"
    assert cut > 0


def spans(ids: Sequence[int]) -> list[list[int]]:
    """The positions of each word; special tokens end one."""
    words_of_row: list[list[int]] = []
    for at, token in enumerate(ids):
        if token >= INSIDE and ids[at - 1] >= FIRST:
            words_of_row[-1].append(at)
        elif token >= FIRST:
            words_of_row.append([at])
    return words_of_row


@pytest.mark.parametrize("sizes", [[2] * 24, [1, 3] * 12, [1, 2, 3, 4] * 4 + [0] + [1] * 7])
def test_words_of_one_length_are_equally_likely(sizes: list[int]) -> None:
    """Among longer and shorter ones too. That a row's words exclude one another makes the statistic smaller."""
    batch = batch_of([words(sizes)] * 20_000, 50)
    often = where(view_of(whole_words(0.2), batch)).sum(0)
    words_of_row = spans(batch.ids[0].tolist())
    for size in set(map(len, words_of_row)):
        first = [int(often[word[0]]) for word in words_of_row if len(word) == size]
        assert stats.chisquare(first).pvalue > UNLIKELY
