"""Long and many sentences: windows, batches and order change no score, of sentences and of their tokens."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from electra.model.encoder import Tower
from electra.tasks.frozen.detector import Detector
from electra.tasks.frozen.sentence_scores import Energies, PseudoLogLikelihood, ReplacedTokens
from electra.tasks.frozen.sentence_windows import Pieces, cut_windows, encode_pieces, split_by_cost
from electra.tasks.frozen.texts import pad_texts
from electra.tasks.frozen.window_scorer import WindowScorer
from electra.tokenization.tokenizer import Tokenizer
from electra.tokenization.training import train_tokenizer
from scored import CONFIGS, LINES, LONG, SENTENCES, SIZES, TEXTS, tower

MOST = SIZES["max_positions"] - 2
SCORES = ["pseudo-log-likelihood", "within-word", "replaced-token", "energy"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS * 3, SIZES["vocab_size"])


def build(name: str, model: Tower, tokenizer: Tokenizer, batch: int = 2048) -> WindowScorer:
    if name in ("pseudo-log-likelihood", "within-word"):
        return PseudoLogLikelihood(model, tokenizer, name == "within-word", batch)
    return (Energies if name == "energy" else ReplacedTokens)(model, tokenizer, batch)


@pytest.mark.parametrize("most", [1, 2, 5, 38])
@pytest.mark.parametrize("length", [0, 1, 38, 39, 57, 58, 200])
def test_each_token_is_judged_once_with_as_much_around_it_as_there_is(most: int, length: int) -> None:
    ids = list(range(length))
    windows = list(cut_windows([Pieces([7], [0]), Pieces(ids, ids)], most))
    assert windows[0].sentence == 0 and all(window.sentence == 1 for window in windows[1:])
    owners: dict[int, int] = {}
    for window in windows[1:]:
        assert window.length - 2 == min(most, length) and list(window.pieces.words) == list(window.pieces.ids)
        own = window.pieces.ids[window.first : window.last]
        assert own and list(own) == list(range(window.start + window.first, window.start + window.last))
        owners |= dict.fromkeys(own, window.start)
        assert len(owners) == own[-1] + 1, "in order, and none twice"
    assert len(owners) == length
    for token, start in owners.items():
        left, right = token - start, start + most - 1 - token
        assert length <= most or min(left if start else most, right if start + most < length else most) >= most // 4


def test_portions_are_of_like_length_and_cost_what_they_may() -> None:
    sentences = [Pieces(list(range(n)), range(n)) for n in (3, 30, 1, 4, 2, 5)]
    windows = list(cut_windows(sentences, 38))
    portions = list(split_by_cost(windows, lambda window: window.length, 12))
    assert [[len(window.pieces.ids) for window in portion] for portion in portions] == [[1, 2, 3], [4], [5], [30]]
    assert list(split_by_cost([], len, 12)) == []


@torch.no_grad()
def score_token(name: str, model: Tower, tokenizer: Tokenizer, pieces: Pieces, place: int) -> float:
    """The score of one token of what the model reads, by its definition."""
    ids = list(pieces.ids)
    if name in ("pseudo-log-likelihood", "within-word"):
        for other in range(place, len(ids) if name == "within-word" else place + 1):
            if pieces.words[other] == pieces.words[place]:
                ids[other] = tokenizer.ids["mask"]
        logits = model.token_logits(model.hidden(*pad_texts([ids], tokenizer))[:, place + 1])[0].double()
        return logits.log_softmax(0)[pieces.ids[place]].item()
    logit = model.detection_logits(model.hidden(*pad_texts([ids], tokenizer)))[0, place + 1].double()
    return (-logit if name == "energy" else F.logsigmoid(-logit)).item()


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("name", SCORES)
def test_a_long_sentence_is_a_sum_over_its_windows(name: str, config, tokenizer: Tokenizer) -> None:
    masks = name in ("pseudo-log-likelihood", "within-word")
    model = tower(config, "token" if masks else "detection")
    (pieces,) = encode_pieces([LONG], tokenizer, words=True)
    assert len(pieces.ids) > MOST
    expected = sum(
        score_token(name, model, tokenizer, window.pieces, place)
        for window in cut_windows([pieces], MOST)
        for place in range(window.first, window.last)
    )
    scores = build(name, model, tokenizer).score_any([LONG])
    assert scores.sums == pytest.approx([expected], abs=1e-3) and scores.tokens.tolist() == [len(pieces.ids)]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("name", SCORES)
def test_batches_and_order_change_no_score(name: str, config, tokenizer: Tokenizer) -> None:
    masks = name in ("pseudo-log-likelihood", "within-word")
    model = tower(config, "token" if masks else "detection")
    expected = build(name, model, tokenizer).score_any(LINES)
    alone = [build(name, model, tokenizer).score([text]).sums[0] for text in SENTENCES]
    of_whole = dict(zip(SENTENCES, alone, strict=True))
    for text, value, count in zip(LINES, expected.sums, expected.tokens, strict=True):
        assert (value == count == 0) if text in ("", "\u200b") else count > 0
        assert text not in of_whole or value == pytest.approx(of_whole[text], abs=1e-5 * count)
    shares: list[float] = []
    backwards = build(name, model, tokenizer, batch=16).score_any(LINES[::-1], shares.append)
    assert (np.abs(backwards.sums[::-1] - expected.sums) <= 1e-5 * np.maximum(expected.tokens, 1)).all()
    assert (backwards.tokens[::-1] == expected.tokens).all()
    assert shares == sorted(set(shares)) and shares[-1] == 1.0 and len(shares) > 1
    assert build(name, model, tokenizer).score_any([]).sums.shape == (0,)


@pytest.mark.parametrize("config", CONFIGS)
def test_a_detector_judges_each_token_as_if_alone(config, tokenizer: Tokenizer) -> None:
    model = tower(config, "detection")
    encoded = encode_pieces(LINES, tokenizer, words=False)
    for batch in (100, 10_000):
        shares: list[float] = []
        judged = Detector(model, tokenizer, batch).judge_tokens(encoded, shares.append)
        assert shares == sorted(set(shares)) and shares[-1] == 1.0
        assert [len(each) for each in judged] == [len(ids) for ids, _ in encoded]
        for pieces, probabilities in zip(encoded, judged, strict=True):
            expected = np.zeros(len(pieces.ids))
            for window in cut_windows([pieces], MOST):
                with torch.no_grad():
                    hidden = model.hidden(*pad_texts([window.pieces.ids], tokenizer))
                    alone = model.detection_logits(hidden)[0, 1:-1].sigmoid().numpy()
                at = slice(window.start + window.first, window.start + window.last)
                expected[at] = alone[window.first : window.last]
            assert probabilities == pytest.approx(expected, abs=1e-5)
    assert Detector(model, tokenizer).judge_tokens([]) == []


def test_what_is_read_together_is_bounded(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[torch.Size] = []
    whole: Callable = Tower.hidden
    monkeypatch.setattr(Tower, "hidden", lambda self, ids, *more: shapes.append(ids.shape) or whole(self, ids, *more))
    model = tower(CONFIGS[0].values[0], "detection")
    Detector(model, tokenizer, 64).judge_tokens(encode_pieces(LINES, tokenizer, words=False))
    assert all(rows == 1 or rows * length <= 64 for rows, length in shapes) and max(rows for rows, _ in shapes) > 3
