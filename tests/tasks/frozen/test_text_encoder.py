"""What ``electra.load`` gives: vectors and states as transformers computes them, in the order of the texts."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import electra
from electra.tasks.frozen import text_encoder
from electra.tokenization.training import train_tokenizer
from finetuning import CLASSIC, MODERN, exported, sentences

TEXTS = ["w1 alpha " * 40, "w3", "", *(text for text, _ in sentences(30, 5)), "omega [MASK] é", "w3"]
FOLDERS = ("classic", "modern", "bert", "roberta")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Encoders by name: two of ours, one as a run's folder, and two that transformers has saved."""
    folder = tmp_path_factory.mktemp("encoders")
    tokens = train_tokenizer([text for text, _ in sentences(300, 0)], 120)
    tokens.save(folder / "tokens", model_max_length=48, split_special_tokens=True)
    made = {
        "classic": exported(folder / "run" / "final" / "discriminator", CLASSIC, folder / "tokens").parents[1],
        "modern": exported(folder / "modern", replace(MODERN, init_std=0.2), folder / "tokens"),
    }
    sizes = {"vocab_size": 120, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    for name, net in (("bert", transformers.BertModel), ("roberta", transformers.RobertaModel)):
        places = 48 + (name == "roberta")  # whose positions begin behind that of padding, 0 here
        special = {"pad_token_id": tokens.ids["pad"], "type_vocab_size": 2 - (name == "roberta")}
        config = net.config_class(**sizes, intermediate_size=64, max_position_embeddings=places, **special)
        torch.manual_seed(1)
        net(config).save_pretrained(folder / name)
        tokens.save(folder / name, model_max_length=48, split_special_tokens=True)
        made[name] = folder / name
    return made


@pytest.fixture(scope="module")
def loaded(folders: dict[str, Path]) -> Callable[[str], electra.Encoder]:
    encoders = {name: electra.load(str(folder)) for name, folder in folders.items()}
    return encoders.__getitem__


def read_with_transformers(folder: Path) -> tuple[torch.Tensor, torch.Tensor, list[list[str]]]:
    """The last states of ``TEXTS`` by ``AutoModel``, the attention mask, and the tokens of each text."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(TEXTS, padding=True, truncation=True, max_length=48, return_tensors="pt")
    with torch.inference_mode():
        states = transformers.AutoModel.from_pretrained(folder).eval()(**batch).last_hidden_state
    pieces = [
        tokenizer.convert_ids_to_tokens(ids[seen > 0])
        for ids, seen in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]
    return states, batch["attention_mask"], pieces


@pytest.mark.parametrize("name", FOLDERS)
def test_vectors_and_states_are_those_of_transformers(
    name: str, folders: dict[str, Path], loaded: Callable[[str], electra.Encoder]
) -> None:
    encoder = loaded(name)
    where = folders[name] / "final" / "discriminator" if name == "classic" else folders[name]
    states, mask, pieces = read_with_transformers(where)
    vectors = encoder.encode(TEXTS)
    assert vectors.dtype == np.float32 and vectors.shape == (len(TEXTS), encoder.width)
    mean = (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
    np.testing.assert_allclose(vectors, mean, atol=1e-5, rtol=0)
    np.testing.assert_allclose(encoder.encode(TEXTS, pooling="first"), states[:, 0], atol=1e-5, rtol=0)
    assert encoder.cut(TEXTS) == pieces and max(map(len, pieces)) == encoder.longest == 48, "one text was cut"
    read = encoder.read(TEXTS, batch=7)
    for of_text, row, length in zip(read, states, mask.sum(1), strict=True):
        assert of_text.dtype == np.float32 and of_text.shape == (length, encoder.width)
        np.testing.assert_allclose(of_text, row[:length], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", FOLDERS)
def test_texts_are_read_as_if_alone(
    name: str, loaded: Callable[[str], electra.Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = loaded(name)
    expected = encoder.encode(TEXTS)
    monkeypatch.setattr(text_encoder, "BLOCK", 10)
    for batch in (1, 4, 1000):
        np.testing.assert_allclose(encoder.encode(TEXTS, batch=batch), expected, atol=1e-6, rtol=0)
    np.testing.assert_allclose(encoder.encode(TEXTS[::-1]), expected[::-1], atol=1e-6, rtol=0)


def test_each_layer_has_its_width(loaded: Callable[[str], electra.Encoder]) -> None:
    encoder = loaded("classic")
    assert (encoder.layers, encoder.width) == (2, CLASSIC.hidden_size)
    assert encoder.encode(TEXTS, layer=0).shape == encoder.encode(TEXTS, layer=-3).shape == (len(TEXTS), 16)
    np.testing.assert_array_equal(encoder.encode(TEXTS, layer=2), encoder.encode(TEXTS))
    assert np.abs(encoder.encode(TEXTS, layer=1) - encoder.encode(TEXTS)).max() > 0.01
    assert encoder.encode([], layer=0).shape == (0, 16) and encoder.encode(()).shape == (0, 32)
    assert encoder.read([]) == encoder.cut([]) == []
    assert not encoder.reader.training and not torch.is_inference(next(encoder.reader.parameters()))


def test_what_cannot_be_asked_is_told(loaded: Callable[[str], electra.Encoder], tmp_path: Path) -> None:
    encoder = loaded("modern")
    for ask in (encoder.encode, encoder.read, encoder.cut):
        with pytest.raises(electra.UserError, match=r"one string; expected a list of strings, so write \[text\]"):
            ask("a text")
    for ask in (encoder.encode, encoder.read, encoder.cut):
        with pytest.raises(electra.UserError, match="^texts: number 1: .*surrogate"):
            ask(["a", "b\ud800"])
    for texts, kind in ((["a", None], "1 is of type NoneType"), ([("a", "b")], "0 is of type tuple")):
        with pytest.raises(electra.UserError, match=kind):
            inspect.unwrap(text_encoder.require_texts)(texts)  # without the tests' own check of types
    with pytest.raises(electra.UserError, match="pooling 'max': expected one of mean, first"):
        inspect.unwrap(electra.Encoder.encode)(encoder, ["a"], "max")
    for layer in (3, -4):
        with pytest.raises(electra.UserError, match=f"layer {layer}: this encoder has 0 .its embeddings. to 2"):
            encoder.encode(["w1"], layer=layer)
    with pytest.raises(electra.UserError, match="batch 0: expected 1 or more"):
        encoder.read([], batch=0)
    with pytest.raises(electra.UserError, match=f"{tmp_path}: no model here"):
        electra.load(tmp_path)
