"""Towers against transformers' classes: the same weights give the same logits, and nothing is lost on the way."""

import json
import shutil
from dataclasses import replace

import pytest
import tokenizers
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForTokenClassification,
    AutoTokenizer,
    ElectraConfig,
    ElectraForMaskedLM,
    ElectraForPreTraining,
    ElectraForSequenceClassification,
    ModernBertConfig,
    ModernBertForMaskedLM,
    ModernBertForTokenClassification,
    PreTrainedTokenizerFast,
    pipeline,
)

from electra.errors import UserError
from electra.interchange import huggingface
from electra.interchange.initialise import initialise_towers, read_starts
from electra.interchange.published import describe_published
from electra.interchange.transformers_models import load_with_transformers
from electra.model.embeddings import OwnEmbeddings, SharedEmbeddings
from electra.model.encoder import ClassicConfig, ModernConfig, Tower, generator_config
from electra.tokenization.loading import load_tokenizer

TINY = ClassicConfig(
    vocab_size=500, hidden_size=128, layers=2, heads=2, intermediate_size=512, embedding_size=64, max_positions=160
)
SMALL = ClassicConfig()
BASE = replace(SMALL, hidden_size=768, heads=12, intermediate_size=3072, embedding_size=768)
MODERN = ModernConfig(vocab_size=500, hidden_size=64, layers=5, heads=2, intermediate_size=96, local_window=32)
slow = pytest.mark.slow
PAIRS = [
    pytest.param(TINY, 0.5, 1.0, id="tiny"),
    pytest.param(replace(TINY, embedding_size=128), 0.5, 0.5, id="tiny-without-projection"),
    pytest.param(SMALL, 0.25, 1.0, id="small"),
    pytest.param(BASE, 1 / 3, 1.0, id="base", marks=slow),
    pytest.param(MODERN, 1.0, 0.4, id="modern"),
    pytest.param(MODERN, 0.5, 0.6, id="modern-narrow-generator"),
    pytest.param(replace(MODERN, global_every=2, local_window=8), 1.0, 1.0, id="modern-other-pattern"),
]


def towers(config, width=1.0, depth=1.0):
    """A generator and a discriminator with random weights, biases and gains too."""
    torch.manual_seed(0)
    small = generator_config(config, width, depth)
    tables = (SharedEmbeddings if small.embedding_size == config.embedding_size else OwnEmbeddings)(config, small)
    parts = {
        "generator": Tower.token(small, tables.generator),
        "discriminator": Tower.detection(config, tables.discriminator),
    }
    for part in parts.values():
        for name, value in part.named_parameters():
            if value.dim() == 1:
                torch.nn.init.normal_(value, 1.0 if name.endswith("norm.weight") else 0.0, 0.1)
    return parts


def rows(config, length=96):
    """Ids, positions, segments (two for a classic encoder), documents: the second row ends in padding."""
    ids = torch.randint(5, config.vocab_size, (2, length))
    positions = torch.arange(length).expand_as(ids)
    segments = (positions >= length // 3).long() if isinstance(config, ClassicConfig) else torch.zeros_like(ids)
    documents = torch.ones_like(ids)
    documents[1, length - 30 :] = 0
    return ids, positions, segments, documents


def theirs(folder, name, config):
    """The folder as transformers loads it, with nothing missing or left over."""
    classic = isinstance(config, ClassicConfig)
    detects = AutoModelForPreTraining if classic else AutoModelForTokenClassification
    kind = AutoModelForMaskedLM if name == "generator" else detects
    model, report = kind.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    return model.eval()


@pytest.mark.parametrize(("config", "width", "depth"), PAIRS)
@torch.no_grad()
def test_transformers_computes_the_same_logits(tmp_path, config, width, depth):
    ids, positions, segments, documents = rows(config)
    for name, part in towers(config, width, depth).items():
        huggingface.save_tower(tmp_path / name, part, None, None)
        model = theirs(tmp_path / name, name, config)
        extra = {"token_type_ids": segments} if isinstance(config, ClassicConfig) else {}
        expected = model(ids, attention_mask=documents, **extra).logits
        hidden = part.hidden(ids, positions, segments, documents)
        if name == "generator":
            found = part.token_logits(hidden.flatten(0, 1)).view_as(expected)
        else:
            found = part.detection_logits(hidden)
            expected = expected[..., 1] - expected[..., 0] if isinstance(config, ModernConfig) else expected
        seen = documents.bool()
        assert (found - expected)[seen].abs().max() <= 1e-5
        assert found[seen].std() > 1e-3, "logits that say nothing compare nothing"


@pytest.mark.parametrize(("config", "width", "depth"), [pair for pair in PAIRS if pair.id != "base"])
def test_a_tower_that_is_saved_and_loaded_is_the_same_to_the_bit(tmp_path, config, width, depth):
    for name, part in towers(config, width, depth).items():
        huggingface.save_tower(tmp_path / name, part, None, None)
        loaded = huggingface.load_tower(tmp_path / name)
        there, here = loaded.state_dict(), part.state_dict()
        assert there.keys() == here.keys()
        assert all(torch.equal(there[key], here[key]) for key in here)
        assert loaded.config == part.config


THEIR_SIZES = {
    "vocab_size": 300, "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 96,
}  # fmt: skip
MODERN_IDS = {f"{name}_token_id": None for name in ("pad", "cls", "sep", "bos", "eos")}
MODELS = {
    "electra-generator": lambda: ElectraForMaskedLM(ElectraConfig(**THEIR_SIZES, embedding_size=32)),
    "electra-discriminator": lambda: ElectraForPreTraining(ElectraConfig(**THEIR_SIZES, embedding_size=64)),
    "modernbert-generator": lambda: ModernBertForMaskedLM(ModernBertConfig(**THEIR_SIZES, **MODERN_IDS)),
    "modernbert-discriminator": lambda: ModernBertForTokenClassification(
        ModernBertConfig(
            **THEIR_SIZES, **MODERN_IDS, id2label={0: "original", 1: "replaced"},
            label2id={"original": 0, "replaced": 1}, global_attn_every_n_layers=2, global_rope_theta=5000.0,
        )
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_their_folder_read_and_written_again_is_the_same_to_the_bit(tmp_path, name):
    MODELS[name]().save_pretrained(tmp_path / "theirs")
    huggingface.save_tower(tmp_path / "ours", huggingface.load_tower(tmp_path / "theirs"), None, None)
    before, after = (load_file(tmp_path / folder / "model.safetensors") for folder in ("theirs", "ours"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    old, new = (json.loads((tmp_path / folder / "config.json").read_text()) for folder in ("theirs", "ours"))
    free = {"pad_token_id", "global_attn_every_n_layers"}
    assert {key: old.get(key) for key in old if key not in free} == {
        key: new.get(key) for key in old if key not in free
    }


def changed(folder, **tensors):
    """Write tensors over, beside (or, where None, out of) those of the folder."""
    values = load_file(folder / "model.safetensors") | tensors
    kept = {name: value for name, value in values.items() if value is not None}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})


@pytest.fixture
def saved(tmp_path):
    """A run's final folder with both towers of a tiny classic pair, which share their embeddings."""
    for name, part in towers(TINY, 0.5).items():
        huggingface.save_tower(tmp_path / name, part, None, None)
    return tmp_path


@pytest.mark.parametrize(
    ("tensors", "complaint"),
    [
        ({"generator_lm_head.bias": None}, "neither a generator nor a discriminator"),
        ({"generator_predictions.LayerNorm.bias": None}, r"missing tensors: generator_predictions.LayerNorm.bias$"),
        ({"electra.encoder.layer.7.output.dense.bias": torch.zeros(64)}, r"unknown tensors: electra.encoder.layer.7"),
        ({"generator_predictions.dense.bias": torch.zeros(65)}, r"dense.bias: found .*\[65\].*\[64\]"),
        ({"generator_predictions.dense.bias": torch.zeros(64).long()}, "found torch.int64"),
        ({"generator_lm_head.weight": torch.zeros(500, 64)}, "output matrix of its own"),
        ({"electra.embeddings.position_ids": torch.arange(1, 161)}, "does not count up"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_tensors_are_strict_both_ways(saved, tensors, complaint):
    changed(saved / "generator", **tensors)
    with pytest.raises(UserError, match=complaint):
        huggingface.load_tower(saved / "generator")


def test_what_older_versions_wrote_twice_is_read(saved):
    table = load_file(saved / "generator" / "model.safetensors")["electra.embeddings.word_embeddings.weight"]
    twice = {"generator_lm_head.weight": table.clone(), "electra.embeddings.position_ids": torch.arange(160)[None]}
    before = huggingface.load_tower(saved / "generator").state_dict()
    changed(saved / "generator", **twice)
    after = huggingface.load_tower(saved / "generator").state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize(
    ("kind", "values", "complaint"),
    [
        ("electra", {"hidden_act": "relu"}, "hidden_act is 'relu'; only 'gelu'"),
        ("electra", {"model_type": "bert"}, "model_type is 'bert'; electra and modernbert"),
        ("electra", {"num_attention_heads": 3}, "128 cannot be cut into 3"),
        ("electra", {"hidden_size": "wide"}, "hidden_size"),
        ("modern", {"norm_bias": True}, "norm_bias"),
        ("modern", {"layer_types": ["full_attention"] * 2 + ["sliding_attention"] * 3}, "layer_types"),
        ("modern", {"id2label": {"0": "bad", "1": "good"}}, "ModernBertForTokenClassification"),
        ("modern", {"embedding_dropout": 0.5}, "embedding_dropout and mlp_dropout"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_our_encoders_do_not_compute_is_refused(tmp_path, kind, values, complaint):
    huggingface.save_tower(tmp_path, towers(TINY if kind == "electra" else MODERN)["discriminator"], None, None)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    with pytest.raises(UserError, match=complaint):
        huggingface.load_tower(tmp_path)


def test_folders_that_cannot_be_read_say_why(saved):
    with pytest.raises(UserError, match="No such file"):
        huggingface.load_tower(saved / "elsewhere")
    weights = saved / "generator" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match="damaged"):
        huggingface.load_tower(saved / "generator")
    weights.rename(weights.with_name("pytorch_model.bin"))
    with pytest.raises(UserError, match="convert the folder with transformers"):
        huggingface.load_tower(saved / "generator")
    (saved / "generator" / "config.json").write_text("{")
    with pytest.raises(UserError, match="not JSON"):
        huggingface.load_tower(saved / "generator")
    ElectraForSequenceClassification(ElectraConfig(**THEIR_SIZES)).save_pretrained(saved / "classifier")
    with pytest.raises(UserError, match="ElectraForSequenceClassification"):
        huggingface.load_tower(saved / "classifier")


def same(part, folder):
    there = huggingface.load_tower(folder).state_dict()
    return {key for key, value in part.state_dict().items() if torch.equal(value, there[key])} == there.keys()


@pytest.mark.parametrize("sharing", [SharedEmbeddings, OwnEmbeddings])
def test_a_run_starts_from_both_towers(saved, sharing):
    torch.manual_seed(1)
    parts = fresh(TINY, sharing)
    lines = initialise_towers(parts, read_starts(saved)).lines
    assert same(parts["generator"], saved / "generator")
    assert same(parts["discriminator"], saved / "discriminator")
    assert lines == [f"{name}: weights from {saved / name}" for name in ("generator", "discriminator")]


def fresh(config, sharing, width=0.5):
    tables = sharing(config)
    return {
        "generator": Tower.token(generator_config(config, width, 1.0), tables.generator),
        "discriminator": Tower.detection(config, tables.discriminator),
    }


@pytest.mark.parametrize(("taken", "new"), [("generator", "discriminator"), ("discriminator", "generator")])
def test_a_run_starts_from_one_tower_and_says_what_is_new(saved, taken, new):
    parts = fresh(TINY, SharedEmbeddings)
    before = {key: value.clone() for key, value in parts[new].state_dict().items()}
    lines = initialise_towers(parts, read_starts(saved / taken)).lines
    assert same(parts[taken], saved / taken)
    after = parts[new].state_dict()
    assert all(torch.equal(before[key], after[key]) != key.startswith("embeddings.") for key in before)
    assert lines == [
        f"{taken}: weights from {saved / taken}", f"{new}: new weights; embeddings shared with the {taken}",
    ]  # fmt: skip


def test_a_run_folder_stands_for_its_final_one_and_what_is_not_used_is_said(saved, tmp_path):
    run = tmp_path / "run"
    (run / "final").mkdir(parents=True)
    for name in ("generator", "discriminator"):
        shutil.move(saved / name, run / "final" / name)
    (run / "config.json").write_text("{}")
    parts = {"generator": fresh(TINY, OwnEmbeddings)["generator"]}
    lines = initialise_towers(parts, read_starts(run)).lines
    assert lines[-1] == f"discriminator: not used, in {run / 'final' / 'discriminator'}"


def test_a_start_that_does_not_fit_is_refused_and_changes_nothing(saved):
    parts = fresh(TINY, SharedEmbeddings)
    before = {key: value.clone() for key, value in parts["discriminator"].state_dict().items()}
    shared_tables = {"electra.embeddings.token_type_embeddings.weight": torch.zeros(2, 64)}
    changed(saved / "generator", **shared_tables)
    with pytest.raises(UserError, match=r"embeddings.segments.weight differ.*--objective.embeddings own"):
        initialise_towers(parts, read_starts(saved))
    with pytest.raises(UserError, match="layers: 2 there, 3 here"):
        initialise_towers(fresh(replace(TINY, layers=3), SharedEmbeddings), read_starts(saved))
    with pytest.raises(UserError, match="vocab_size: 500 there, 501 here"):
        initialise_towers(fresh(replace(TINY, vocab_size=501), SharedEmbeddings), read_starts(saved / "discriminator"))
    with pytest.raises(UserError, match="kind: classic there, modern here"):
        initialise_towers(fresh(MODERN, SharedEmbeddings, 1.0), read_starts(saved / "discriminator"))
    with pytest.raises(UserError, match="hidden_size: 128 there, 64 here.*heads: 2 there, 1 here"):
        initialise_towers({"generator": parts["generator"]}, read_starts(saved / "discriminator"))
    with pytest.raises(UserError, match="holds a generator; this run has a discriminator"):
        initialise_towers({"discriminator": parts["discriminator"]}, read_starts(saved / "generator"))
    assert all(torch.equal(before[key], value) for key, value in parts["discriminator"].state_dict().items())


@pytest.fixture
def tokenizer(tmp_path):
    """A folder with a WordPiece tokenizer of 500 word pieces, the special ones not first."""
    letters = [f"{mark}{letter}" for letter in "abcdefghijklmnopqrstuvwxyz" for mark in ("", "##")]
    words = ["unused", *SPECIAL, *letters, *(f"w{index}" for index in range(442))]
    inner = tokenizers.Tokenizer(
        tokenizers.models.WordPiece(dict(zip(words, range(500), strict=True)), unk_token="[UNK]")
    )
    inner.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    inner.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 4), ("[CLS]", 3))
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=inner, **names).save_pretrained(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.mark.parametrize("config", [TINY, MODERN], ids=["classic", "modern"])
def test_the_tokenizer_travels_with_the_tower(tmp_path, tokenizer, config):
    part = towers(config)["discriminator"]
    huggingface.save_tower(tmp_path / "out", part, tokenizer, None)
    loaded = AutoTokenizer.from_pretrained(tmp_path / "out")
    values = loaded(["the chef", "ate"], padding=True, return_tensors="pt")
    assert values["input_ids"].tolist()[1][:2] == [3, loaded.convert_tokens_to_ids("a")]
    theirs(tmp_path / "out", "discriminator", config)(**values)
    told = json.loads((tmp_path / "out" / "config.json").read_text())
    assert told["pad_token_id"] == 1
    if isinstance(config, ModernConfig):
        assert (told["cls_token_id"], told["sep_token_id"]) == (3, 4)
        found = pipeline("token-classification", str(tmp_path / "out"))("the chef ate")
        assert {each["entity"] for each in found} <= {"original", "replaced"}
        assert len(found) == len("thechefate")


def test_a_tokenizer_that_does_not_fit_is_refused(tmp_path, tokenizer):
    part = towers(replace(TINY, vocab_size=499))["discriminator"]
    with pytest.raises(UserError, match="500 word pieces, but the tower has 499"):
        huggingface.save_tower(tmp_path / "out", part, tokenizer, None)
    with pytest.raises(UserError, match="no tokenizer here"):
        huggingface.save_tower(tmp_path / "out", part, tmp_path, None)
    assert not (tmp_path / "out").exists()


def test_a_folder_is_whole_or_as_it_was(saved, monkeypatch):
    folder = saved / "generator"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(huggingface, "save_file", full)
    with pytest.raises(UserError, match="generator: could not be written: No space left on device"):
        huggingface.save_tower(folder, towers(TINY)["generator"], None, "card")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    monkeypatch.undo()
    huggingface.save_tower(folder, towers(TINY)["generator"], None, "card")
    assert (folder / "README.md").read_text() == "card"
    assert sorted(path.name for path in saved.iterdir()) == ["discriminator", "generator"]


@pytest.mark.parametrize("key", ["num_hidden_layers", "num_labels"])
@pytest.mark.parametrize("kind", ["electra", "modernbert", "bert"])
def test_numbers_that_transformers_would_count_up_to_without_end_are_refused(tmp_path, kind, key):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, key: 1 << 64}))
    (tmp_path / "tokenizer.json").write_text("{}")
    readers = [load_tokenizer, describe_published, lambda folder: load_with_transformers(folder, "AutoModel")]
    for read in [*readers, *[huggingface.load_tower] * (kind != "bert")]:
        with pytest.raises(UserError, match=f"config.json: {key} is 18446744073709551616; expected 10,000.* at most"):
            read(tmp_path)


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("electra", "type_vocab_size", 0),
        ("electra", "embedding_size", 0),
        ("electra", "embedding_size", -1),
        ("electra", "num_attention_heads", 0),
        ("electra", "num_attention_heads", 7),
        ("modernbert", "num_attention_heads", 0),
        ("modernbert", "vocab_size", -1),
        ("modernbert", "max_position_embeddings", 0),
        ("bert", "hidden_size", -768),
    ],
)
def test_sizes_that_make_no_encoder_are_refused(tmp_path, kind, key, value):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, key: value}))
    for read in [describe_published, *[huggingface.load_tower] * (kind != "bert")]:
        with pytest.raises(UserError, match=f"config.json: .*{value}"):
            read(tmp_path)
