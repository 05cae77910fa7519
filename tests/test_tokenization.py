"""Vocabularies: equal to transformers' own, saved so that AutoTokenizer loads them, complete or refused."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest
import tokenizers
from transformers import AutoTokenizer, BertTokenizer

from electra.errors import UserError
from electra.tokenization.kinds import TOKENIZER_KINDS, Normalization, Spelling, TokenizerKind
from electra.tokenization.loading import load_tokenizer
from electra.tokenization.tokenizer import SPECIAL_TOKENS, Tokenizer, finish_tokenizer, name_os_errors, parse_tokenizer
from electra.tokenization.training import RARE_CHARACTER, train_tokenizer

TEXTS = ["The chef ate the meal.", "the CHEF cooked Crème brûlée", "a meal, a chef; a chef, a meal", "the cook ate"] * 3


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    return train_tokenizer(TEXTS, 80)


def test_special_tokens_come_first(trained: Tokenizer) -> None:
    assert trained.ids == {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}
    assert 5 < trained.size <= 80


@pytest.mark.parametrize("kind", ["word-piece", "byte-bpe"])
def test_the_same_texts_give_the_same_vocabulary(kind: TokenizerKind) -> None:
    words = ["chef", "chefs", "meal", "meals", "ate", "eats", "cook", "cooks", "cooked", "각", "값", "café"]
    texts = [" ".join(random.Random(seed).choices(words, k=9)) for seed in range(30)]
    found = [train_tokenizer(given, 400, kind).backend.get_vocab() for given in (texts, iter(texts), texts[::-1])]
    assert found[0] == found[1] == found[2]
    assert kind == "byte-bpe" or ({"##e", "##ᆨ", "chef", "cooked"} < set(found[0]) and "##é" not in found[0])


def test_only_what_a_word_goes_on_with_is_a_continuation() -> None:
    found = train_tokenizer(["ab, 吃c. de\n吃 d-e \u200bx"] * 3, 100).backend.get_vocab()
    assert {token for token in found if token.startswith("##")} == {"##b", "##e"} and {"吃", "c", "x"} < set(found)


@pytest.mark.parametrize("kind", TOKENIZER_KINDS)
@pytest.mark.parametrize("normalization", ["none", "nfc", "nfkc"])
@pytest.mark.parametrize(("lower_case", "strip_accents"), [(True, True), (False, False), (True, False), (False, True)])
def test_a_saved_tokenizer_is_loaded_by_transformers_and_by_us(
    tmp_path: Path, kind: TokenizerKind, lower_case: bool, strip_accents: bool, normalization: Normalization
) -> None:
    spelling = Spelling(lower_case, strip_accents, normalization)
    ours = train_tokenizer(TEXTS, 300, kind, spelling)
    ours.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    texts = [
        *TEXTS,
        "the Crème, ate!",
        "e\u0301 é E\u0301",
        "ﬁ ² ½ ①  x \t y",
        "吃饭 กินข้าว",
        "an  unseen\x00 zebra's…",
        "",
    ]
    cls, sep = ours.ids["cls"], ours.ids["sep"]
    assert theirs(texts)["input_ids"] == [[cls, *ids, sep] for ids in ours.encode(texts)]
    pair = theirs("the chef", "a meal")
    assert pair["token_type_ids"] == [0] * pair["input_ids"].index(sep) + [0] + [1] * (
        len(pair["input_ids"]) - pair["input_ids"].index(sep) - 1
    )
    assert (theirs.mask_token_id, theirs.pad_token_id) == (ours.ids["mask"], ours.ids["pad"])
    again = load_tokenizer(tmp_path)
    assert again.fingerprint == ours.fingerprint and again.size == ours.size
    assert again.encode(texts) == ours.encode(texts)
    assert (ours.encode(["the chef"]) == ours.encode(["the CHEF"])) is lower_case
    assert (ours.encode(["Crème"]) == ours.encode(["Creme"])) is strip_accents
    joined = ours.encode(["Cre\u0300me"]) == ours.encode(["Crème"])
    assert joined is (strip_accents or normalization != "none")
    if kind == "byte-bpe":
        assert (ours.encode(["ﬁ²"]) == ours.encode(["fi2"])) is (normalization == "nfkc")


@pytest.mark.parametrize("kind", TOKENIZER_KINDS)
def test_a_tokenizer_saved_over_and_over_is_the_same(tmp_path: Path, kind: TokenizerKind) -> None:
    """What reads a unigram's scores rounds their last digit."""
    from pydoc_data.topics import topics

    found = train_tokenizer(list(topics.values())[:40], 1000, kind)
    fingerprint = found.fingerprint
    for number in range(3):
        found.save(tmp_path / str(number))
        found = load_tokenizer(tmp_path / str(number))
        assert found.fingerprint == fingerprint
    assert parse_tokenizer(found.backend.to_str(), found.special).fingerprint == fingerprint


def test_fingerprints_differ_where_ids_do(tmp_path: Path, trained: Tokenizer) -> None:
    said = trained.backend.to_str()
    more = tokenizers.Tokenizer.from_str(said)
    more.add_tokens(["chef ate"])
    plain = parse_tokenizer(said, trained.special)
    other = parse_tokenizer(more.to_str(), trained.special)
    assert other.encode(["the chef ate"]) != plain.encode(["the chef ate"])
    assert other.fingerprint != plain.fingerprint == trained.fingerprint
    trained.save(tmp_path)
    cased = load_tokenizer(tmp_path / "vocab.txt", Spelling(lower_case=False))
    assert cased.fingerprint != trained.fingerprint == load_tokenizer(tmp_path / "vocab.txt").fingerprint


def test_bytes_know_everything() -> None:
    ours = train_tokenizer(TEXTS, 300, "byte-bpe", Spelling(False, False))
    everything = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    for start in range(0, len(everything), 1 << 16):
        texts = ["".join(everything[n : n + 64]) for n in range(start, min(start + (1 << 16), len(everything)), 64)]
        ids = ours.encode(texts)
        assert not {ours.ids["unk"]} & {token for each in ids for token in each}
        assert [ours.backend.decode(each) for each in ids] == [
            " " * (not text.startswith(" ")) + text for text in texts
        ]


THAI = ["พ่อครัว", "กิน", "อาหาร", "แม่ครัว", "ทำ", "ข้าว", "ตลาด", "ไป", "ซื้อ", "ปลา"]
JAPANESE = ["料理人", "は", "ご飯", "を", "食べた", "東京", "の", "作った", "市場", "魚"]


@pytest.mark.parametrize("words", [THAI, JAPANESE], ids=["Thai", "Japanese"])
def test_a_unigram_cuts_text_without_spaces_into_pieces_of_several_characters(words: list[str]) -> None:
    draw = random.Random(0)
    texts = ["".join(draw.choices(words, k=draw.randint(4, 12))) for _ in range(400)]
    ours = train_tokenizer(texts, 80, "unigram", Spelling(strip_accents=False))
    cut = [[ours.backend.id_to_token(index) for index in ids] for ids in ours.encode(texts)]
    assert ["".join(pieces).removeprefix("▁") for pieces in cut] == texts
    assert sum(map(len, cut)) < 0.5 * sum(map(len, texts))
    assert {max(words, key=len)} <= {ours.backend.id_to_token(index) for index in range(ours.size)}


@pytest.mark.parametrize("kind", TOKENIZER_KINDS)
def test_texts_without_a_word_make_no_vocabulary(kind: TokenizerKind) -> None:
    for texts in ([], [""]):
        with pytest.raises(UserError, match="no word occurs twice"):
            train_tokenizer(texts, 300, kind)


def spell_hangul(seed: int = 0) -> list[str]:
    """Texts of some 400 different characters, of which those of the first words are frequent."""
    draw, syllables = random.Random(seed), [chr(0xAC00 + 28 * index) for index in range(399)]
    return [" ".join("".join(draw.choices(syllables[: 9 + 3 * row], k=3)) for _ in range(9)) for row in range(130)]


@pytest.mark.parametrize(("kind", "sizes"), [("word-piece", (7, 8, 100, 600)), ("unigram", (8, 9, 50, 399, 405, 420))])
def test_no_more_ids_than_asked_for_and_the_rarest_characters_are_left_out(
    kind: TokenizerKind, sizes: tuple[int, ...]
) -> None:
    texts, spelling = spell_hangul(), Spelling(False, False)
    counts = Counter("".join(texts).replace(" ", ""))
    for size in sizes:
        skipped: Counter[str] = Counter()
        ours = train_tokenizer(iter(texts), size, kind, spelling, skipped)
        kept = set(counts).intersection(ours.backend.get_vocab())
        assert ours.size <= size and kept
        assert len(kept) + skipped[RARE_CHARACTER] == len(counts)
        assert min(counts[each] for each in kept) >= max((counts[each] for each in set(counts) - kept), default=0)
        [ids] = ours.encode(["".join(sorted(kept, key=lambda each: -counts[each]))[:1]])
        assert ours.ids["unk"] not in ids


def test_which_characters_are_left_out_does_not_depend_on_the_order_of_the_texts() -> None:
    texts = spell_hangul()
    found = [
        train_tokenizer(given, 300, spelling=Spelling(False, False)).backend.get_vocab()
        for given in (texts, texts[::-1])
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("kind", "size", "message"),
    [
        ("word-piece", 5, "--vocab-size 5: a word-piece vocabulary has from 6 to 10,000,000 ids"),
        ("byte-bpe", 261, "--vocab-size 261: a byte-bpe vocabulary has from 262 to"),
        ("unigram", 0, "--vocab-size 0: a unigram vocabulary has from 7 to"),
        ("byte-bpe", 10**9, "--vocab-size 1000000000: a byte-bpe"),
        ("word-piece", 2**64, "--vocab-size 18446744073709551616: a word-piece"),
    ],
)
def test_a_size_that_cannot_be_is_refused_before_a_text_is_read(kind: TokenizerKind, size: int, message: str) -> None:
    texts = iter(["a text", "a text"])
    with pytest.raises(UserError, match=message):
        train_tokenizer(texts, size, kind)
    assert len(list(texts)) == 2


@pytest.mark.parametrize(("kind", "size", "smallest"), [("word-piece", 6, 7), ("unigram", 7, 8)])
def test_a_size_without_room_for_one_character_says_the_smallest_that_has(
    kind: TokenizerKind, size: int, smallest: int
) -> None:
    with pytest.raises(UserError, match=f"--vocab-size {size}: too small for these texts; at least {smallest}"):
        train_tokenizer(TEXTS, size, kind)
    assert train_tokenizer(TEXTS, smallest, kind).size <= smallest


def test_ids_that_a_vocabulary_leaves_unused_are_counted() -> None:
    vocabulary = {word: index for index, word in enumerate([*SPECIAL_TOKENS.values(), "a"])} | {"z": 50}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    ours = finish_tokenizer(backend, SPECIAL_TOKENS)
    assert ours.encode(["z"]) == [[50]] and ours.size == 51


def test_vocab_txt_gives_what_berts_tokenizer_gives(tmp_path: Path, trained: Tokenizer) -> None:
    trained.save(tmp_path)
    ours = load_tokenizer(tmp_path / "vocab.txt")
    theirs = BertTokenizer(vocab=str(tmp_path / "vocab.txt"), do_lower_case=True)
    for text in [*TEXTS, "unseen: zebra's ﬁsh 吃饭 é ñ …"]:
        assert ours.encode([text])[0] == theirs(text, add_special_tokens=False)["input_ids"]


def test_special_tokens_in_a_text_are_text(trained: Tokenizer) -> None:
    assert not set(trained.ids.values()) - {trained.ids["unk"]} & set(trained.encode(["the [MASK] ate [SEP] [PAD]"])[0])


def test_missing_special_tokens_are_named(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\nthe\n")
    with pytest.raises(UserError, match=r"vocab.txt: this vocabulary has no \[SEP\], \[MASK\]"):
        load_tokenizer(tmp_path)
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nthe\n")
    with pytest.raises(UserError, match=r"'the' stands there twice"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_without_a_mask_is_refused(tmp_path: Path, trained: Tokenizer) -> None:
    trained.save(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    said = json.loads(path.read_text())
    del said["mask_token"]
    path.write_text(json.dumps(said))
    with pytest.raises(UserError, match=r"no \[MASK\]"):
        load_tokenizer(tmp_path)


def test_what_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no tokenizer here"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="transformers cannot load this tokenizer"):
        load_tokenizer(tmp_path)


def test_a_byte_order_mark_belongs_to_no_word_piece(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\ufeff[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\n", encoding="utf-8")
    assert load_tokenizer(tmp_path / "vocab.txt").ids["pad"] == 0


def test_a_name_that_is_too_long_is_an_error_of_one_line() -> None:
    with pytest.raises(UserError, match=r"^a{300}: File name too long$"):
        load_tokenizer(Path("a" * 300))


def test_a_disk_that_is_full_is_an_error_of_the_system(trained: Tokenizer) -> None:
    """tokenizers raises a plain Exception then; /dev/full takes no byte."""
    with pytest.raises(OSError, match="No space left on device"), name_os_errors():
        trained.backend.save("/dev/full")
    with pytest.raises(ZeroDivisionError), name_os_errors():
        print(1 // 0)


def test_the_originals_word_pieces(shared: Path) -> None:
    """golden_tokenizer.json of the original implementation: the same pieces for the same texts."""
    folder = shared / "oracle" / "data_building"
    ours = load_tokenizer(folder / "vocab.txt")
    golden = json.loads((folder / "golden_tokenizer.json").read_text())
    assert len(golden) > 10
    for case in golden:
        assert ours.encode([case["text"]]) == [case["ids"]]
        assert [ours.backend.id_to_token(index) for index in case["ids"]] == case["tokens"]
