"""Word pieces: equal to transformers' own, saved so that AutoTokenizer loads them, complete or refused."""

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer, BertTokenizer

from electra.errors import UserError
from electra.text import tokenizer as word_pieces

TEXTS = ["The chef ate the meal.", "the CHEF cooked Crème brûlée", "a meal, a chef; a chef, a meal", "the cook ate"] * 3


@pytest.fixture(scope="module")
def trained() -> word_pieces.Tokenizer:
    return word_pieces.train(TEXTS, 80)


def test_special_tokens_come_first(trained: word_pieces.Tokenizer) -> None:
    assert trained.ids == {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}
    assert 5 < trained.size <= 80


@pytest.mark.parametrize(("lower_case", "strip_accents"), [(True, True), (False, False), (True, False)])
def test_a_saved_tokenizer_is_loaded_by_transformers_and_by_us(
    tmp_path: Path, lower_case: bool, strip_accents: bool
) -> None:
    ours = word_pieces.train(TEXTS, 80, spelling=word_pieces.Spelling(lower_case, strip_accents))
    ours.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    texts = [*TEXTS[:4], "the Crème, ate!"]
    (cls, sep) = (ours.ids["cls"], ours.ids["sep"])
    assert theirs(texts)["input_ids"] == [[cls, *ids, sep] for ids in ours.encode(texts)]
    pair = theirs("the chef", "a meal")
    assert pair["token_type_ids"] == [0] * pair["input_ids"].index(sep) + [0] + [1] * (
        len(pair["input_ids"]) - pair["input_ids"].index(sep) - 1
    )
    assert theirs.mask_token_id == ours.ids["mask"]
    again = word_pieces.load(tmp_path)
    assert again.fingerprint == ours.fingerprint
    assert again.encode(texts) == ours.encode(texts)
    different = ours.encode(["the chef"]) != ours.encode(["the CHEF"])
    assert different is not lower_case


def test_vocab_txt_gives_what_berts_tokenizer_gives(tmp_path: Path, trained: word_pieces.Tokenizer) -> None:
    trained.save(tmp_path)
    ours = word_pieces.load(tmp_path / "vocab.txt")
    theirs = BertTokenizer(vocab=str(tmp_path / "vocab.txt"), do_lower_case=True)
    for text in [*TEXTS, "unseen: zebra's ﬁsh 吃饭 é ñ …"]:
        assert ours.encode([text])[0] == theirs(text, add_special_tokens=False)["input_ids"]


def test_special_tokens_in_a_text_are_text(trained: word_pieces.Tokenizer) -> None:
    assert not set(trained.ids.values()) - {trained.ids["unk"]} & set(trained.encode(["the [MASK] ate [SEP] [PAD]"])[0])


def test_missing_special_tokens_are_named(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\nthe\n")
    with pytest.raises(UserError, match=r"vocab.txt: this vocabulary has no \[SEP\], \[MASK\]"):
        word_pieces.load(tmp_path)
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nthe\n")
    with pytest.raises(UserError, match=r"'the' stands there twice"):
        word_pieces.load(tmp_path)


def test_a_tokenizer_without_a_mask_is_refused(tmp_path: Path, trained: word_pieces.Tokenizer) -> None:
    trained.save(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    said = json.loads(path.read_text())
    del said["mask_token"]
    path.write_text(json.dumps(said))
    with pytest.raises(UserError, match=r"no \[MASK\]"):
        word_pieces.load(tmp_path)


def test_what_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no tokenizer here"):
        word_pieces.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="transformers cannot load this tokenizer"):
        word_pieces.load(tmp_path)
    with pytest.raises(UserError, match="no word occurs twice"):
        word_pieces.train([], 100)


def test_the_originals_word_pieces(shared: Path) -> None:
    """golden_tokenizer.json of the original implementation: the same pieces for the same texts."""
    folder = shared / "oracle" / "data_building"
    ours = word_pieces.load(folder / "vocab.txt")
    golden = json.loads((folder / "golden_tokenizer.json").read_text())
    assert len(golden) > 10
    for case in golden:
        assert ours.encode([case["text"]]) == [case["ids"]]
        assert [ours.backend.id_to_token(index) for index in case["ids"]] == case["tokens"]
