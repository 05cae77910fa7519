"""Scores of sentences against the definitions written out, one row at a time, and against minicons."""

from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float64
from torch.nn import functional as F
from transformers import BertConfig, BertForMaskedLM, BertModel

from electra.errors import UserError
from electra.interchange import huggingface
from electra.model.encoder import Tower
from electra.tasks.frozen.sentence_groups import UnreadableSentence, encode_sentences, group_windows, mask_each_token
from electra.tasks.frozen.sentence_scores import PseudoLogLikelihood, ReplacedTokens, choose_scorer, load_scorer
from electra.tasks.frozen.texts import pad_texts
from electra.tokenization.tokenizer import Tokenizer
from electra.tokenization.training import train_tokenizer
from scored import CONFIGS, SENTENCES, SIZES, TEXTS, tower

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS * 3, SIZES["vocab_size"])


@torch.no_grad()
def one_by_one(model: Tower, tokenizer: Tokenizer, text: str, within_word: bool = False) -> float:
    """The pseudo-log-likelihood by its definition."""
    encoding, mask, total = tokenizer.backend.encode(text, add_special_tokens=False), tokenizer.ids["mask"], 0.0
    words = encoding.word_ids
    for place, token in enumerate(encoding.ids):
        ids = list(encoding.ids)
        for other in range(place, len(ids) if within_word else place + 1):
            if words[other] == words[place]:
                ids[other] = mask
        states = model.hidden(*pad_texts([ids], tokenizer))
        total += model.token_logits(states[:, place + 1])[0].double().log_softmax(0)[token].item()
    return total


@pytest.mark.parametrize("within_word", [False, True])
@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("batch", [1, 40, 10_000])
def test_pseudo_log_likelihood_is_its_definition(config, batch, within_word, tokenizer: Tokenizer) -> None:
    model = tower(config)
    expected = [one_by_one(model, tokenizer, text, within_word) for text in SENTENCES]
    scores = PseudoLogLikelihood(model, tokenizer, within_word, batch).score(SENTENCES)
    assert scores.sums == pytest.approx(expected, abs=1e-4)
    assert scores.tokens.tolist() == [len(ids) for ids in tokenizer.encode(SENTENCES)]
    assert scores.sums[0] == scores.sums[4] == scores.sums[8], "the same tokens have exactly the same score"
    assert np.ptp(expected) > 5


def test_within_word_hides_the_rest_of_the_word_alone(tokenizer: Tokenizer) -> None:
    model = tower(CONFIGS[0].values[0])
    text = ["cats", "runningdogs ran"]
    whole, within = (PseudoLogLikelihood(model, tokenizer, choice).score(text).sums for choice in (False, True))
    assert whole[0] == within[0] and abs(whole[1] - within[1]) > 1e-3
    (group,) = group_windows(encode_sentences(["runningdogs ran"], tokenizer, 30, words=True), tokenizer)
    words = group.words[0].tolist()
    assert len(words) > len(set(words)) == 2
    rows, at, row_of = mask_each_token(group, tokenizer.ids["mask"])
    hidden = (rows[row_of] == tokenizer.ids["mask"])[:, 1:-1]
    for place, row in enumerate(hidden.tolist()):
        assert row == [other >= place and words[other] == words[place] for other in range(len(words))]
    assert at[row_of].tolist() == list(range(1, len(words) + 1))


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("batch", [1, 10_000])
def test_replaced_token_score_is_its_definition(config, batch, tokenizer: Tokenizer) -> None:
    model = tower(config, "detection")
    expected = []
    for ids in tokenizer.encode(SENTENCES):
        with torch.no_grad():
            logits = model.detection_logits(model.hidden(*pad_texts([ids], tokenizer)))[0, 1:-1]
        expected.append(F.logsigmoid(-logits.double()).sum().item())
    scores = ReplacedTokens(model, tokenizer, batch).score(SENTENCES)
    assert scores.sums == pytest.approx(expected, abs=1e-4)
    assert scores.rows == len(SENTENCES) - 2, "one sentence stands there three times"
    assert np.ptp(expected) > 1


def test_an_encoder_of_electric_is_scored_by_its_energies(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = tower(CONFIGS[0].values[0], "detection")
    tokenizer.save(tmp_path / "tokenizer")
    huggingface.save_tower(tmp_path / "model", model, tmp_path / "tokenizer", None, "electric")
    with torch.no_grad():
        states = [model.hidden(*pad_texts([ids], tokenizer)) for ids in tokenizer.encode(TEXTS)]
        read = [model.detection_logits(each)[0, 1:-1] for each in states]
    scorer = load_scorer(tmp_path / "model", CPU)
    assert scorer.name == "minus energy"
    assert scorer.score(TEXTS).sums == pytest.approx([-float(logits.double().sum()) for logits in read], abs=1e-4)
    huggingface.save_tower(tmp_path / "model", model, tmp_path / "tokenizer", None, "electra")
    assert load_scorer(tmp_path / "model", CPU).name == "replaced-token score"
    with pytest.raises(UserError, match="within-word"):
        load_scorer(tmp_path / "model", CPU, within_word=True)


def test_what_sentences_share_is_read_once(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    model, read = tower(CONFIGS[0].values[0]), []
    whole = Tower.hidden
    monkeypatch.setattr(
        Tower, "hidden", lambda self, ids, *more: read.extend(map(tuple, ids.tolist())) or whole(self, ids, *more)
    )
    pair = ["the cats annoy tim", "the cats barked tim"]
    lengths = [len(ids) for ids in tokenizer.encode(pair)]
    assert lengths[0] == lengths[1], "so that they differ in a token"
    alone = [PseudoLogLikelihood(model, tokenizer).score([text]).sums[0] for text in pair]
    assert len(read) == len(set(read)) + 1 == sum(lengths), "the row that hides the difference, twice"
    read.clear()
    together = PseudoLogLikelihood(model, tokenizer).score([*pair, *pair])
    assert len(read) == len(set(read)) == together.rows == sum(lengths) - 1
    assert together.sums == pytest.approx(alone * 2, abs=1e-5)
    assert together.tokens.sum() == 2 * sum(lengths)


def test_long_sentences_go_a_few_at_a_time(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = PseudoLogLikelihood(tower(CONFIGS[0].values[0]), tokenizer)
    at_once = scorer.score(SENTENCES).sums
    monkeypatch.setattr("electra.tasks.frozen.sentence_groups.HELD", 1)
    windows = encode_sentences(SENTENCES, tokenizer, 38, words=False)
    assert all(len(group.indices) == 1 for group in group_windows(windows, tokenizer))
    assert scorer.score(SENTENCES).sums == pytest.approx(at_once, abs=1e-5)


def test_no_sentences_have_no_scores(tokenizer: Tokenizer) -> None:
    assert PseudoLogLikelihood(tower(CONFIGS[0].values[0]), tokenizer).score([]).sums.shape == (0,)


def test_the_head_says_which_score_it_is(tokenizer: Tokenizer) -> None:
    config = CONFIGS[0].values[0]
    assert choose_scorer(tower(config), tokenizer, within_word=True).name == "pseudo-log-likelihood, within-word"
    detector = tower(config, "detection")
    assert choose_scorer(detector, tokenizer).name == "replaced-token score"
    with pytest.raises(UserError, match=r"within-word .* discriminator"):
        choose_scorer(detector, tokenizer, within_word=True)


@pytest.mark.parametrize("kind", ["token", "detection"])
def test_a_sentence_that_cannot_be_read_is_named(kind: str, tokenizer: Tokenizer) -> None:
    scorer = choose_scorer(tower(CONFIGS[0].values[0], kind), tokenizer)
    scorer.score(["cats " * 38])
    with pytest.raises(UnreadableSentence, match=r"39 tokens, but the model reads 38: 'cats cats") as caught:
        scorer.score(["cats", "cats " * 39])
    assert caught.value.index == 1
    with pytest.raises(UnreadableSentence, match=r"no token: '\\u200b'"):
        scorer.score(["\u200b"])


def by_minicons(folder: Path, texts: list[str], metric: str) -> Float64[np.ndarray, " texts"]:
    """The sums that minicons comes to."""
    minicons = pytest.importorskip("minicons.scorer", reason="minicons is not installed")
    theirs = minicons.MaskedLMScorer(str(folder), "cpu")
    encoded = theirs.tokenizer(texts, padding="longest")  # its own call is of a method that transformers 5 has not
    return np.array(theirs.sequence_score(encoded, reduction=lambda x: x.sum().item(), PLL_metric=metric))


@pytest.mark.parametrize(("within_word", "metric"), [(False, "original"), (True, "within_word_l2r")])
@pytest.mark.parametrize("config", CONFIGS)
def test_minicons_agrees(config, within_word, metric, tokenizer: Tokenizer, tmp_path: Path) -> None:
    texts = [text for text in SENTENCES if "[MASK]" not in text]  # theirs reads it as the token
    tokenizer.save(tmp_path / "tokenizer")
    huggingface.save_tower(tmp_path / "model", tower(config), tmp_path / "tokenizer", None)
    sums = load_scorer(tmp_path / "model", CPU, within_word).score(texts).sums
    assert sums == pytest.approx(by_minicons(tmp_path / "model", texts, metric), abs=1e-3)


@pytest.fixture
def bert() -> BertConfig:
    torch.manual_seed(0)
    return BertConfig(
        vocab_size=160, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=40, initializer_range=0.5,
    )  # fmt: skip


def test_a_masked_model_of_transformers_is_scored_too(bert: BertConfig, tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    model = BertForMaskedLM(bert).eval()
    model.save_pretrained(tmp_path)
    (ids,) = tokenizer.encode(["the cats annoy tim"])
    special, expected = tokenizer.ids, 0.0
    for place, token in enumerate(ids):
        row = torch.tensor([[special["cls"], *ids, special["sep"]]])
        row[0, place + 1] = special["mask"]
        with torch.no_grad():
            expected += model(row).logits[0, place + 1].log_softmax(0)[token].item()
    scorer = load_scorer(tmp_path, CPU)
    assert scorer.score(["the cats annoy tim"]).sums == pytest.approx([expected], abs=1e-4)
    with pytest.raises(UnreadableSentence, match="39 tokens, but the model reads 38"):
        scorer.score(["cats " * 39])


def test_a_model_without_a_head_for_tokens_is_refused(bert: BertConfig, tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    BertModel(bert).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"no masked language model: its weights lack cls\.predictions"):
        load_scorer(tmp_path, CPU)
