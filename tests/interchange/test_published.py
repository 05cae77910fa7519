"""Encoders that others trained, in transformers' classes with random weights: read, continued, and written again."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

from electra.errors import UserError
from electra.interchange.fitting import Start
from electra.interchange.huggingface import load_tower, save_tower
from electra.interchange.initialise import initialise_towers, read_starts
from electra.interchange.published import describe_published, read_published, spell_tensors
from electra.model.config import generator_config
from electra.model.embeddings import DisentangledEmbeddings, OwnEmbeddings, SharedEmbeddings, build_embeddings
from electra.model.encoder import Tower

SIZES = {
    "vocab_size": 128, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 48,
}  # fmt: skip
LEARNED = SIZES | {"max_position_embeddings": 40}
IDS = {f"{name}_token_id": 0 for name in ("pad", "cls", "sep", "bos", "eos")}
MODELS = {
    "bert": lambda: hf.BertForMaskedLM(hf.BertConfig(**LEARNED)),
    "bert-whole": lambda: hf.BertForPreTraining(hf.BertConfig(**LEARNED)),
    "bert-bare": lambda: hf.BertModel(hf.BertConfig(**LEARNED)),
    "roberta": lambda: hf.RobertaForMaskedLM(hf.RobertaConfig(**LEARNED, pad_token_id=1, type_vocab_size=1)),
    "modernbert": lambda: hf.ModernBertForMaskedLM(hf.ModernBertConfig(**SIZES, **IDS, local_attention=8)),
    "modernbert-bare": lambda: hf.ModernBertModel(hf.ModernBertConfig(**SIZES, **IDS, local_attention=8)),
    "electra-bare": lambda: hf.ElectraModel(hf.ElectraConfig(**LEARNED, embedding_size=16)),
    "electra-generator": lambda: hf.ElectraForMaskedLM(hf.ElectraConfig(**LEARNED, embedding_size=16)),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Name → a folder with a model of transformers', and that model: all weights random, biases and gains too."""
    made = {}
    for name, build in MODELS.items():
        torch.manual_seed(0)
        model, folder = build(), tmp_path_factory.mktemp(name)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, 1.0 if parameter.dim() == 1 else 0.0, 0.1)
        model.save_pretrained(folder)
        made[name] = folder, model.eval()
    return made


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_our_encoders_compute_what_their_classes_do(models, name):
    folder, model = models[name]
    source = read_published(folder)
    assert source.config.max_positions == {"roberta": 38, "modernbert": 8192}.get(name.split("-")[0], 40)
    assert describe_published(folder) == (source.role, source.config)
    assert source.role == ("generator" if name == "electra-generator" else "encoder")
    tower = Tower.token(source.config, build_embeddings(source.config))
    tower.take(source.values)
    ids = torch.randint(5, 128, (2, 36))
    ids[1, 20:] = 1 if "roberta" in name else 0
    positions, segments = torch.arange(36).expand_as(ids), torch.zeros_like(ids)
    seen = torch.arange(36) < torch.tensor([[36], [20]])
    found, expected = tower.hidden(ids, positions, segments, seen.long())[seen], model(ids, attention_mask=seen.long())
    expected = expected["prediction_logits" if "Pre" in type(model).__name__ else 0][seen]
    found = tower.token_logits(found) if source.head else found
    assert (found - expected).abs().max() <= 1e-5
    assert expected.std() > 0.1


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_what_was_read_is_written_again_to_the_bit(models, tmp_path, name):
    """By way of the folder that a run ends with, which is an ELECTRA's."""
    folder, _ = models[name]
    source = read_published(folder)
    tower = Tower.token(source.config, build_embeddings(source.config))
    tower.take(source.values)
    save_tower(tmp_path / "generator", tower, None, None)
    before, loaded = load_file(folder / "model.safetensors"), load_tower(tmp_path / "generator")
    after = spell_tensors(loaded, name, source.unused_positions)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def fresh(config, tables=SharedEmbeddings, width=1.0, depth=0.5):
    """A generator and a discriminator with fresh weights."""
    torch.manual_seed(1)
    small = generator_config(config, width, depth)
    both = tables(config, small)
    return {
        "generator": Tower.token(small, both.generator),
        "discriminator": Tower.detection(config, both.discriminator),
    }


def equal_names(tower, values):
    """The parameters of a tower that are those of ``values``."""
    return {name for name, value in tower.values().items() if name in values and torch.equal(value, values[name])}


def test_an_encoder_with_an_mlm_head_becomes_a_discriminator_and_its_head_the_generators(models):
    folder, _ = models["bert-whole"]
    source = read_published(folder)
    parts = fresh(source.config)
    before = {name: value.clone() for name, value in parts["generator"].values().items()}
    lines = initialise_towers(parts, [Start(source)]).lines
    body = {name for name in source.values if not name.startswith("head.")}
    heads = source.values.keys() - body
    assert equal_names(parts["discriminator"], source.values) == body
    assert equal_names(parts["generator"], source.values) == heads | {name for name in body if "embeddings." in name}
    assert all("encoder." in name for name in equal_names(parts["generator"], before))
    assert lines == [
        f"discriminator: weights from {folder}; its head is new",
        f"generator: new weights, and the head of {folder}; embeddings shared with the discriminator",
        f"{folder}: left out: the pooler, the head for the next sentence",
    ]


@pytest.mark.parametrize("tables", [SharedEmbeddings, OwnEmbeddings, DisentangledEmbeddings])
@pytest.mark.parametrize("name", ["bert", "modernbert"])
def test_a_generator_begins_as_the_lowest_layers_of_the_encoder(models, name, tables):
    source = read_published(models[name][0])
    parts = fresh(source.config, tables)
    lines = initialise_towers(parts, [Start(source)], lowest=True).lines
    assert equal_names(parts["generator"], source.values) == parts["generator"].values().keys()
    assert equal_names(parts["discriminator"], source.values) >= parts["discriminator"].values().keys() - {
        name for name in parts["discriminator"].values() if name.startswith("head.")
    }
    assert f"generator: layers 1 to 2 of {source.folder} and its head" in "".join(lines)


def test_a_delta_is_to_the_table_that_the_generator_gets(models):
    source = read_published(models["modernbert-bare"][0])
    parts = fresh(source.config, DisentangledEmbeddings)
    initialise_towers(parts, [Start(source)])
    assert not parts["discriminator"].embeddings.tokens.delta.any()
    assert torch.equal(parts["generator"].embeddings.tokens.weight, source.values["embeddings.tokens.weight"])


def test_what_does_not_fit_is_dropped_and_said_or_refused(models):
    source = read_published(models["bert"][0])
    narrow = fresh(replace(source.config), OwnEmbeddings, width=0.5)
    lines = initialise_towers(narrow, [Start(source)]).lines
    assert lines[1:] == ["generator: new weights", f"{source.folder}: left out: the head that predicts tokens"]
    with pytest.raises(UserError, match=r"lowest: .*hidden_size: 32 there, 16 here.*objective.generator_width 1"):
        initialise_towers(narrow, [Start(source)], lowest=True)
    with pytest.raises(UserError, match=r"layers: 4 there, 5 here. Leave out the encoder's settings"):
        initialise_towers(fresh(replace(source.config, layers=5)), [Start(source)])


def test_an_mlm_encoder_is_trained_on_alone_with_its_head(models):
    for name in ("roberta", "electra-generator"):
        source = read_published(models[name][0])
        tower = Tower.token(source.config, build_embeddings(source.config))
        outcome = initialise_towers({"generator": tower}, [Start(source)])
        assert equal_names(tower, source.values) == source.values.keys() == tower.values().keys()
        assert outcome == ([f"generator: weights from {source.folder}"], {"generator"})


def test_learned_positions_are_drawn_out_and_rotary_ones_turn_slower(models):
    source = read_published(models["bert-bare"][0])
    table = source.values["embeddings.positions.weight"]
    for count in (79, 40, 25):
        config = replace(source.config, max_positions=count)
        tower = Tower.token(config, build_embeddings(config))
        lines = initialise_towers({"generator": tower}, [Start(source)]).lines
        found = tower.embeddings.positions.weight
        assert torch.allclose(found[::2], table, atol=1e-6) if count == 79 else torch.equal(found, table[:count])
        assert [line for line in lines if "learned positions become" in line] != [] or count == 40
    modern = read_published(models["modernbert"][0])
    longer = replace(modern.config, max_positions=16384)
    assert "--encoder.global-theta 3.53e+05" in "".join(initialise_towers(fresh(longer), [Start(modern)]).lines)
    wider = replace(longer, global_theta=400000.0)
    assert "global_theta 400,000 in place of 160,000" in "".join(initialise_towers(fresh(wider), [Start(modern)]).lines)
    with pytest.raises(UserError, match="global_theta: 160000.0 there, 400000.0 here"):
        initialise_towers(fresh(replace(wider, max_positions=8192)), [Start(modern)])


def test_names_of_the_first_files_and_repeated_tensors_are_read(models, tmp_path):
    """As google-bert/bert-base-uncased has them."""
    folder = Path(shutil.copytree(models["bert"][0], tmp_path / "old"))
    before = read_published(folder).values
    tensors = load_file(folder / "model.safetensors")
    tensors |= {
        "cls.predictions.decoder.weight": tensors["bert.embeddings.word_embeddings.weight"].clone(),
        "cls.predictions.decoder.bias": tensors["cls.predictions.bias"].clone(),
        "bert.embeddings.position_ids": torch.arange(40)[None],
    }
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    renamed = {name.replace(*each) if (each := next((e for e in old.items() if e[0] in name), None)) else name: value
               for name, value in tensors.items()}  # fmt: skip
    save_file(renamed, folder / "model.safetensors")
    after = read_published(folder).values
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    save_file(renamed | {"cls.predictions.decoder.bias": torch.ones(128)}, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"cls.predictions.decoder.bias is not cls.predictions.bias"):
        read_published(folder)
    save_file(renamed | {"classifier.weight": torch.ones(2, 32)}, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"unknown tensors: classifier.weight"):
        read_published(folder)
    del renamed["bert.encoder.layer.2.output.dense.bias"]
    save_file(renamed, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"missing tensors: bert.encoder.layer.2.output.dense.bias"):
        read_published(folder)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"model_type": "deberta-v2"}, r"model_type is 'deberta-v2': it cannot be continued here; electra, modernbert"),
        ({"model_type": "modernbert-decoder"}, "'modernbert-decoder': it cannot"),
        ({"is_decoder": True}, "is_decoder is True; only False"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'; only 'gelu'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"hidden_size": "wide"}, "hidden_size"),
        ({"vocab_size": 0}, "config.json: vocab_size: expected a whole number"),
        ({"model_type": "roberta", "pad_token_id": None}, "pad_token_id is None; positions count on from it"),
        ({"model_type": "roberta", "pad_token_id": 39}, "config.json: max_positions: expected a whole number"),
        ({"auto_map": {"AutoModel": "x.Y"}}, "needs code of its own, which is not run"),
    ],
    ids=lambda value: next(iter(value.items())) [-1] if isinstance(value, dict) else "",
)  # fmt: skip
def test_other_models_are_refused_by_name(models, tmp_path, values, complaint):
    settings = json.loads((models["bert"][0] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(settings | values))
    with pytest.raises(UserError, match=complaint):
        describe_published(tmp_path)


def test_pickled_weights_are_refused_with_what_converts_them(models, tmp_path):
    shutil.copy(models["bert"][0] / "config.json", tmp_path)
    with pytest.raises(UserError, match="model.safetensors: no such file"):
        read_starts(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(UserError, match=r"several files are not read; .*max_shard_size"):
        read_starts(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    for read in (read_starts, describe_published):
        with pytest.raises(UserError, match=r"\.bin: only safetensors are read; .*save_pretrained\(NEW\)"):
            read(tmp_path)
