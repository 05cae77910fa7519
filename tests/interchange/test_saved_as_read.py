"""What is saved reads any text, in transformers, as we did: ids, segments, lengths, logits, scores in their units."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoTokenizer

from electra.errors import UserError
from electra.interchange import encoders, finetuned, huggingface
from electra.interchange.huggingface_export import fill_folder
from electra.interchange.views import ModelView
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.tasks.datasets.samples import Sample, Sentence, Task
from electra.tasks.finetuning.examples import ExampleSource, encode_texts
from electra.tasks.finetuning.problem import FineTuned, FineTuning, Problem
from electra.tasks.finetuning.sequences import Sequences
from electra.tasks.finetuning.tagging import Tagging, encode_words
from electra.tokenization.kinds import Spelling, TokenizerKind
from electra.tokenization.loading import load_tokenizer
from electra.tokenization.tokenizer import SPECIAL_TOKENS, Tokenizer, finish_tokenizer
from electra.tokenization.training import train_tokenizer
from finetuning import CLASSIC, MODERN

LENGTH = 24
CORPUS = ["The chef ate the meal.", "the CHEF cooked Crème brûlée", "a meal, a chef; a [MASK] <s>", "le café 吃饭"] * 4
TEXTS = [
    "the chef", "a [SEP] b [MASK] [CLS][PAD] <s> </s> <mask>", "", "   ", "\t\n ", "chef 👩‍🍳 🍲", "a\x00meal",
    "Cre\u0300me ﬁ ²",
    "chef" * 60, "the meal " * 40, "ADDED chef ADDED", "吃饭 กินข้าว", "\u200b", "a\u00a0meal…", "the  chef ,ate",
]  # fmt: skip
PAIRS = [
    ("the chef", "ate [SEP] a meal"),
    ("", ""),
    ("chef " * 40, "meal"),
    ("a", "meal " * 40),
    ("x " * 30, "y " * 31),
]
TOKENIZERS: dict[str, tuple[TokenizerKind, Spelling]] = {
    "uncased": ("word-piece", Spelling()),
    "cased": ("word-piece", Spelling(False, False)),
    "bytes": ("byte-bpe", Spelling(False, False)),
    "unigram": ("unigram", Spelling(False, False, "nfkc")),
}


def save_tokenizer(name: str, folder: Path) -> Tokenizer:
    """A tokenizer with a token that was added to it."""
    kind, spelling = TOKENIZERS[name]
    trained = train_tokenizer(CORPUS, 320, kind, spelling)
    trained.backend.add_tokens(["ADDED"])
    trained.save(folder)
    return load_tokenizer(folder)


def make_encoder(model: str, tokenizer: Tokenizer, folder: Path) -> Path:
    """A tiny encoder in a folder, beside the tokenizer ``folder / "tok"``: ours, or one of transformers'."""
    torch.manual_seed(0)
    size = -(-tokenizer.size // 8) * 8  # padded, as published models are
    if model in ("classic", "modern"):
        shape: Any = {"classic": replace(CLASSIC, vocab_size=size), "modern": replace(MODERN, vocab_size=size)}[model]
        tower = Tower.detection(shape, build_embeddings(shape))
        huggingface.save_tower(folder / "model", tower, folder / "tok", None)
        return folder / "model"
    sizes = {"vocab_size": size, "pad_token_id": tokenizer.filler, "max_position_embeddings": 64}
    wide = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    narrow = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
    net = {
        "bert": lambda: transformers.BertModel(transformers.BertConfig(**sizes, **wide)),
        "roberta": lambda: transformers.RobertaModel(transformers.RobertaConfig(**sizes, **wide, type_vocab_size=1)),
        "distilbert": lambda: transformers.DistilBertModel(transformers.DistilBertConfig(**sizes, **narrow)),
    }[model]()
    net.save_pretrained(folder / "model")
    for file in (folder / "tok").iterdir():
        shutil.copy(file, folder / "model")
    return folder / "model"


def save_net(problem: Problem, source: Path, folder: Path) -> tuple[FineTuned, Tokenizer]:
    """A net with fresh weights, as the end of fine-tuning saves it."""
    reader: Any
    reader, tokenizer = encoders.load_encoder(source, needs=())
    spec = finetuned.HeadSpec(problem.model, problem.labels, problem.problem_type, problem.units)
    if reader.family == "theirs":
        reader = finetuned.load_whole_model(source, spec)
    torch.manual_seed(1)
    net = FineTuned(reader, problem.head(reader, FineTuning(head="transformers")), 1)
    assert finetuned.save_finetuned(folder, source, net.reader, net.head, spec, LENGTH)
    return net, tokenizer


def answer(net: FineTuned, problem: Problem, split: str, tokenizer: Tokenizer) -> list[Any]:
    examples = problem.examples(split, tokenizer, LENGTH)
    source = ExampleSource(examples, problem.targets, tokenizer.filler, 8, 0)
    return problem.predictions(split, examples, net.answers(source, torch.device("cpu")))


def build_task(kind: Any, texts: list[tuple[str, str | None]]) -> Sequences:
    labels = {"class": ("no", "yes"), "labels": ("a", "b", "c"), "score": ()}[kind]
    gold: list[Any] = {"class": [0, 1], "labels": [(0.0, 1.0, 0.0)] * 2, "score": [2.0, 7.0]}[kind]
    train = [Sample("chef", None, label) for label in gold]
    return Sequences(Task("t", kind, labels, ("accuracy",), {"train": train, "dev": [Sample(*each) for each in texts]}))


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("model", ["classic", "modern", "bert", "roberta", "distilbert"])
def test_the_pipeline_of_what_is_saved_gives_our_predictions_for_any_text(
    model: str, name: str, tmp_path: Path
) -> None:
    source = make_encoder(model, save_tokenizer(name, tmp_path / "tok"), tmp_path)
    texts = [*((text, None) for text in TEXTS), *PAIRS]
    given = [text if pair is None else {"text": text, "text_pair": pair} for text, pair in texts]
    for kind in ("class", "score", "labels"):
        problem = build_task(kind, texts)
        net, tokenizer = save_net(problem, source, tmp_path / kind)
        ours = answer(net, problem, "dev", tokenizer)
        pipe = transformers.pipeline("text-classification", str(tmp_path / kind), device="cpu", truncation=True)
        theirs = [pipe(each, top_k=None) for each in given]
        theirs = [each if isinstance(each, list) else [each] for each in theirs]
        if kind == "score":
            np.testing.assert_allclose([each[0]["score"] for each in theirs], ours, rtol=1e-4, atol=1e-5)
        elif kind == "class":
            assert [max(each, key=lambda one: one["score"])["label"] for each in theirs] == ours
        else:
            assert [sorted(one["label"] for one in each if one["score"] > 0.5) for each in theirs] == ours
    saved = AutoTokenizer.from_pretrained(tmp_path / "class")
    for (text, pair), (ids, segments) in zip(texts, encode_texts(texts, tokenizer, LENGTH), strict=True):
        read = saved(text, pair, truncation=True)
        assert read["input_ids"] == ids, text
        assert read.get("token_type_ids", segments) == segments
    assert saved.model_max_length == LENGTH
    again = load_tokenizer(tmp_path / "class", needs=())
    assert again.fingerprint == tokenizer.fingerprint


@pytest.mark.parametrize("name", TOKENIZERS)
def test_words_are_read_as_the_text_that_they_make(name: str, tmp_path: Path) -> None:
    source = make_encoder("bert", save_tokenizer(name, tmp_path / "tok"), tmp_path)
    words = [("the", "chef", "[MASK]", "ate"), ("Crème", "</s>", ","), ("👩‍🍳", "meal")]
    problem = Tagging("t", {"train": [Sentence(("a", "b"), ("X", "Y"))], "dev": [Sentence(each) for each in words]})
    net, tokenizer = save_net(problem, source, tmp_path / "tags")
    ours = answer(net, problem, "dev", tokenizer)
    pipe = transformers.pipeline("token-classification", str(tmp_path / "tags"), device="cpu", ignore_labels=[])
    for sentence, tags in zip(words, ours, strict=True):
        (pieces,) = encode_words([Sentence(sentence)], tokenizer)
        found = pipe(" ".join(sentence))
        assert len(found) == sum(map(len, pieces))
        first = np.cumsum([0, *map(len, pieces)])[:-1]
        assert [found[index]["entity"] for index in first] == tags


@pytest.mark.parametrize("model", ["bert", "roberta"])
def test_an_exported_tokenizer_cuts_where_the_model_ends(model: str, tmp_path: Path) -> None:
    """RoBERTa's positions are counted on from that of padding, so it reads fewer tokens than its table has rows."""
    source = make_encoder(model, save_tokenizer("uncased", tmp_path / "tok"), tmp_path)
    settings = json.loads((source / "tokenizer_config.json").read_text())
    settings.pop("model_max_length", None)
    (source / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "out").mkdir()
    fill_folder(ModelView(source, "encoder"), tmp_path / "out")
    saved, theirs = (each.from_pretrained(tmp_path / "out") for each in (AutoTokenizer, transformers.AutoModel))
    inputs = saved("the chef ate " * 100, truncation=True, return_tensors="pt")
    assert (
        inputs["input_ids"].shape[1] == encoders.TransformersReader(theirs).longest == (64 if model == "bert" else 63)
    )
    assert theirs(**inputs).last_hidden_state.isfinite().all()


@pytest.mark.parametrize("head", ["generator", "discriminator"])
@pytest.mark.parametrize("config", [CLASSIC, MODERN])
def test_towers_say_their_length_and_a_generator_knows_its_mask(config: Any, head: str, tmp_path: Path) -> None:
    tokenizer = save_tokenizer("uncased", tmp_path / "tok")
    shape = replace(config, vocab_size=tokenizer.size)
    tower = (Tower.token if head == "generator" else Tower.detection)(shape, build_embeddings(shape))
    huggingface.save_tower(tmp_path / "tower", tower, tmp_path / "tok", None)
    saved = AutoTokenizer.from_pretrained(tmp_path / "tower")
    assert saved.model_max_length == shape.max_positions
    ids = saved("the [MASK] ate")["input_ids"]
    assert (tokenizer.ids["mask"] in ids) is (head == "generator")
    if head == "generator":
        assert transformers.pipeline("fill-mask", str(tmp_path / "tower"), device="cpu")("the [MASK] ate")
    else:
        assert ids == tokenizer.frame.wrap(*tokenizer.encode(["the [MASK] ate"]))[0]
    (tmp_path / "again").mkdir()
    fill_folder(ModelView(tmp_path / "tower", "pretraining"), tmp_path / "again")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "tower" / file).read_bytes()


def test_pairs_are_framed_as_the_tokenizer_says(tmp_path: Path) -> None:
    from tokenizers import processors

    ours = save_tokenizer("bytes", tmp_path)
    cls, sep = (("[CLS]", ours.ids["cls"]), ("[SEP]", ours.ids["sep"]))
    ours.backend.post_processor = processors.RobertaProcessing(sep, cls, trim_offsets=False, add_prefix_space=True)
    ids, segments = ours.pair_frame.wrap(*ours.encode(["the chef", "a meal"]))
    assert ids == ours.backend.encode("the chef", "a meal").ids and set(segments) == {0}
    assert ids.count(sep[1]) == 3


def lay_vocabulary(folder: Path, words: str, **files: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words.split()) + "\n")
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] <mask> <s> a b Ä ä A ##b 吃 饭 吃饭 HELLO hello é e"
BERT = {"model_type": "bert"}


@pytest.mark.parametrize(
    "files",
    [
        {"config": BERT},
        {"config": {"model_type": "electra"}, "tokenizer_config": {"do_lower_case": False}},
        {"config": BERT, "tokenizer_config": {"strip_accents": False}},
        {"config": BERT, "tokenizer_config": {"tokenize_chinese_chars": False, "do_lower_case": False}},
        {"config": BERT, "tokenizer_config": {"do_lower_case": False, "strip_accents": True}},
        {"config": BERT, "tokenizer_config": {"never_split": ["HELLO"]}},
        {"config": BERT, "special_tokens_map": {"mask_token": {"content": "<mask>"}, "cls_token": "<s>"}},
        {"tokenizer_config": {"tokenizer_class": "BertTokenizerFast", "mask_token": "<mask>"}},
        {"config": {"model_type": "distilbert"}, "tokenizer_config": {"do_lower_case": False}},
    ],
)
@pytest.mark.parametrize("named", [False, True], ids=["folder", "file"])
def test_what_lies_beside_a_vocabulary_says_how_it_is_read(tmp_path: Path, files: Any, named: bool) -> None:
    folder = lay_vocabulary(tmp_path / "tok", WORDS, **files)
    ours = load_tokenizer(folder / "vocab.txt" if named else folder)
    theirs = AutoTokenizer.from_pretrained(folder)
    for text in ("A Ä é 吃饭 HELLO", "ab hello", ""):
        read = theirs(text)["input_ids"]
        assert ours.frame.wrap(*ours.encode([text]))[0] == read
    assert (ours.special["mask"], ours.special["cls"]) == (theirs.mask_token, theirs.cls_token)


def test_settings_without_a_class_are_berts(tmp_path: Path) -> None:
    folder = lay_vocabulary(tmp_path / "tok", WORDS, tokenizer_config={"do_lower_case": False})
    ours = load_tokenizer(folder)
    assert ours.encode(["A Ä"]) == [[11, 9]]
    ours.save(tmp_path / "saved")
    assert AutoTokenizer.from_pretrained(tmp_path / "saved")("A Ä")["input_ids"] == [2, 11, 9, 3]
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": "no"}')
    with pytest.raises(UserError, match=r"tokenizer_config.json: do_lower_case: 'no'; expected true or false"):
        load_tokenizer(folder)
    (folder / "tokenizer_config.json").write_text('{"mask_token": "[GAP]"}')
    with pytest.raises(UserError, match=r"no \[MASK\]; pre-training needs"):
        load_tokenizer(folder)


@pytest.mark.parametrize("added", [["remdesivir"], ["<one>", "<two>"]])
def test_ids_without_an_embedding_are_refused_by_every_reader(tmp_path: Path, added: list[str]) -> None:
    ours = train_tokenizer(CORPUS, 60)
    ours.backend.add_tokens(added)
    ours.save(tmp_path)
    for rows in (ours.size, ours.size + 8):
        (tmp_path / "config.json").write_text(json.dumps(BERT | {"vocab_size": rows}))
        assert load_tokenizer(tmp_path).size == ours.size
    (tmp_path / "config.json").write_text(json.dumps(BERT | {"vocab_size": ours.size - 1}))
    message = rf"the last is '{added[-1]}'\), but its model has {ours.size - 1} embeddings"
    for where in (tmp_path, tmp_path / "vocab.txt"):
        (tmp_path / "vocab.txt").write_text("\n".join([*SPECIAL_TOKENS.values(), *map(str, range(60)), added[-1]]))
        with pytest.raises(UserError, match=message if where is tmp_path else "embeddings"):
            load_tokenizer(where)


@pytest.mark.parametrize("missing", ["mask", "pad", "unk"])
def test_a_special_token_that_fine_tuning_does_not_need_may_be_missing(missing: str, tmp_path: Path) -> None:
    ours = save_tokenizer("bytes", tmp_path / "tok")
    rest = {name: token for name, token in ours.special.items() if name != missing}
    Tokenizer(ours.backend, rest).save(tmp_path / "tok")
    source = make_encoder("bert", ours, tmp_path)
    problem = build_task("class", [("the chef", None), ("a meal", "ate")])
    net, tokenizer = save_net(problem, source, tmp_path / "out")
    assert missing not in tokenizer.ids
    pipe = transformers.pipeline("text-classification", str(tmp_path / "out"), device="cpu")
    assert [pipe({"text": one, "text_pair": two})["label"] for one, two in (("the chef", None), ("a meal", "ate"))] == (
        answer(net, problem, "dev", tokenizer)
    )
    with pytest.raises(UserError, match=rf"no \[{missing.upper()}\]; pre-training needs"):
        load_tokenizer(source)


def test_without_a_first_token_there_is_nothing_to_read_a_text_from(tmp_path: Path) -> None:
    ours = save_tokenizer("bytes", tmp_path / "tok")
    ours.backend.post_processor = None
    bare = finish_tokenizer(ours.backend, {"pad": "[PAD]"})
    with pytest.raises(UserError, match=r"puts no \[CLS\] before a text"):
        encode_texts([("the chef", None)], bare, LENGTH)


WIDE = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
OTHERS: dict[str, tuple[str, dict[str, Any], str]] = {
    "gpt2": ("GPT2", {"vocab_size": 300, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 2}, "a decoder"),
    "bert that is a decoder": ("Bert", WIDE | {"max_position_embeddings": 64, "is_decoder": True}, "a decoder"),
    "fnet": ("FNet", WIDE | {"max_position_embeddings": 64}, "fnet: not read"),
    "t5": ("T5", {"vocab_size": 300, "d_model": 32, "d_kv": 16, "num_layers": 2, "num_heads": 2}, "with a decoder"),
    "xlnet": ("XLNet", {"vocab_size": 300, "d_model": 32, "n_layer": 2, "n_head": 2}, "does not say hidden_size"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_architectures_that_are_not_read_are_refused(name: str) -> None:
    family, sizes, message = OTHERS[name]
    model = getattr(transformers, f"{family}Model")(getattr(transformers, f"{family}Config")(**sizes))
    with pytest.raises(UserError, match=message) as error:
        encoders.refuse_other_architectures(model.eval(), Path("folder"))
    assert "\n" not in str(error.value)


def test_what_counts_positions_from_padding_reads_fewer(tmp_path: Path) -> None:
    for family in ("Roberta", "Camembert", "RobertaPreLayerNorm", "Data2VecText", "MPNet"):
        config = getattr(transformers, f"{family}Config")(max_position_embeddings=66, **WIDE)
        model = getattr(transformers, f"{family}Model")(config).eval()
        encoders.refuse_other_architectures(model, tmp_path)
        assert encoders.TransformersReader(model).longest == 64


@pytest.mark.parametrize("model", ["classic", "modern", "bert"])
def test_heads_give_float32_in_bfloat16_runs(model: str, tmp_path: Path) -> None:
    source = make_encoder(model, save_tokenizer("uncased", tmp_path / "tok"), tmp_path)
    problem = build_task("score", [(f"{word} chef {other}", None) for word in "abcdefgh" for other in ["ate", "meal"]])
    net, tokenizer = save_net(problem, source, tmp_path / "out")
    examples = problem.examples("dev", tokenizer, LENGTH)
    source_of = ExampleSource(examples, problem.targets, tokenizer.filler, 8, 0)
    given = [value for (value,) in net.answers(source_of, torch.device("cpu"), "bfloat16")]
    rounded = torch.tensor(given).bfloat16().float().tolist()
    assert len({*given}) > len({*rounded}) or given != rounded


def test_a_padded_table_begins_a_run(prepared: Path, tmp_path: Path) -> None:
    from electra.dataset.data import Data
    from electra.interchange.initialise import read_starts
    from electra.objectives.build import Mlm
    from electra.workflows.pretraining import pretrainers

    data = Data.open(prepared)
    shape = replace(CLASSIC, vocab_size=data.vocab_size + 7)
    tower = Tower.token(shape, build_embeddings(shape))
    huggingface.save_tower(tmp_path / "generator", tower, data.tokenizer_folder, None)
    starts = read_starts(tmp_path / "generator", data.tokenizer)
    rows = pretrainers.choose_vocabulary_size(data, starts)
    assert (rows, pretrainers.choose_vocabulary_size(data, [])) == (data.vocab_size + 7, data.vocab_size)
    (built,) = pretrainers.build_pretrainers(Mlm(), replace(shape, vocab_size=rows), 1, data)
    pretrainers.load_initial_weights(starts, built, lowest=False)
    assert torch.equal(built.encoder.embeddings.tokens.weight, tower.embeddings.tokens.weight)
    huggingface.save_tower(tmp_path / "out", built.encoder, data.tokenizer_folder, None)
    assert transformers.AutoModel.from_pretrained(tmp_path / "out").config.vocab_size == rows
    assert huggingface.load_tower(tmp_path / "out").config.vocab_size == rows
