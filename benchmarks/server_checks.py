"""Exported folders in one library. servers.py runs this with the Python of that library's environment.

``python server_checks.py LIBRARY FOLDER …`` prints a line of JSON for each folder: the class that was loaded, and the
largest difference from what lies in the folder's ``expected.npz``: ``ids0`` (1, tokens), and ``states0`` (1, tokens,
width) or ``logits0`` (1, classes), for the first text and so on. Nothing of this project is imported here.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

# The last is longer than a local window of 128 tokens.
TEXTS = ["The chef ate the meal.", "Return the larger of two arrays, naïve café [MASK] of it.", "a " * 300]
EXPECTED_FILE = "expected.npz"
Result = tuple[str, float]  # the class that was loaded, and the largest difference


def read_expected(folder: Path, name: str) -> list[np.ndarray]:
    arrays = np.load(folder / EXPECTED_FILE)
    return [arrays[f"{name}{index}"] for index in range(len(TEXTS))]


def read_config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config


def measure_difference(outputs: list[np.ndarray], wanted: list[np.ndarray]) -> float:
    for left, right in zip(outputs, wanted, strict=True):
        assert left.shape == right.shape, f"shapes {left.shape} and {right.shape}"
    return max(float(np.abs(left - right).max()) for left, right in zip(outputs, wanted, strict=True))


def compare_ids(read: Callable[[str], list[int]], folder: Path) -> None:
    for text, ids in zip(TEXTS, read_expected(folder, "ids"), strict=True):
        assert read(text) == ids[0].tolist(), f"other ids for {text[:40]!r}"


def compare_outputs(model: Any, folder: Path, output: str = "last_hidden_state", name: str = "states") -> float:
    """How far an output of a transformers model is from what is expected. The mask is given, as a tokenizer gives it:
    without one ModernBERT's classifier of 4.48 cannot take the mean."""
    model.eval()
    outputs = []
    with torch.no_grad():
        for ids in map(torch.tensor, read_expected(folder, "ids")):
            outputs.append(model(input_ids=ids, attention_mask=torch.ones_like(ids))[output].numpy())
    return measure_difference(outputs, read_expected(folder, name))


def mean_states(folder: Path) -> list[np.ndarray]:
    return [states[0].mean(0) for states in read_expected(folder, "states")]


def check_transformers(folder: Path) -> Result:
    from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    compare_ids(lambda text: tokenizer(text)["input_ids"], folder)
    if read_config(folder)["architectures"][0].endswith("ForSequenceClassification"):
        model = AutoModelForSequenceClassification.from_pretrained(folder)
        return type(model).__name__, compare_outputs(model, folder, "logits", "logits")
    model = AutoModel.from_pretrained(folder)
    return type(model).__name__, compare_outputs(model, folder)


def check_sentence_transformers(folder: Path) -> Result:
    """A plain encoder's folder: the library adds the mean of its states."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    return type(model[0].auto_model).__name__, measure_difference(list(model.encode(TEXTS)), mean_states(folder))


def check_setfit(folder: Path) -> Result:
    """A classifier is fitted on the encoder; the encoder's vectors are compared."""
    from setfit import SetFitModel

    model = SetFitModel.from_pretrained(str(folder))
    model.fit(["good one", "fine", "bad one", "poor"], [1, 1, 0, 0], num_epochs=1)
    assert len(model.predict(["good", "bad"])) == 2
    vectors = list(model.model_body.encode(TEXTS))
    return type(model.model_body[0].auto_model).__name__, measure_difference(vectors, mean_states(folder))


def check_pylate(folder: Path) -> Result:
    """A fresh ColBERT reads a query and a text; its encoder's states are compared."""
    from pylate import models

    model = models.ColBERT(model_name_or_path=str(folder), device="cpu")
    for texts, is_query in (["what did the chef eat?"], True), (TEXTS[:1], False):
        assert np.isfinite(model.encode(texts, is_query=is_query)[0]).all()
    encoder = model[0].auto_model
    return type(encoder).__name__, compare_outputs(encoder, folder)


def check_gliner(folder: Path) -> Result:
    """A fresh GLiNER, as one begins to train it, reads a text; ids and its encoder's states are compared."""
    from gliner import GLiNER, GLiNERConfig

    width = read_config(folder)["hidden_size"]
    config = GLiNERConfig(model_name=str(folder), hidden_size=width, max_width=4, max_len=512)
    model = GLiNER.from_config(config, backbone_from_pretrained=True)
    model.predict_entities("The chef ate in Paris.", ["person", "city"])
    tokenizer, encoder = model.data_processor.transformer_tokenizer, model.model.token_rep_layer.bert_layer.model
    compare_ids(lambda text: tokenizer(text)["input_ids"], folder)
    return type(encoder).__name__, compare_outputs(encoder, folder)


def check_model2vec(folder: Path) -> Result:
    """A word's static vector is the mean of the encoder's states for [CLS], the word and [SEP], up to its length."""
    from model2vec.distill import distill
    from transformers import AutoModel, AutoTokenizer

    static = distill(str(folder), pca_dims=None, device="cpu", quantize_to="float32")
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    differences = [compare_outputs(model, folder)]
    for word in ("the", "of"):
        with torch.no_grad():
            wanted = model(**tokenizer(word, return_tensors="pt")).last_hidden_state[0].mean(0).numpy()
        vector = static.embedding[static.tokens.index(word)]
        unit_vectors = [each / np.linalg.norm(each) for each in (vector, wanted)]
        differences.append(float(np.abs(unit_vectors[0] - unit_vectors[1]).max()))
    return type(model).__name__, max(differences)


def check_curated_transformers(folder: Path) -> Result:
    from curated_transformers.layers import AttentionMask
    from curated_transformers.models.bert import BERTEncoder
    from curated_transformers.models.electra import ELECTRAEncoder
    from fsspec.implementations.local import LocalFileSystem

    kind = read_config(folder)["model_type"]
    encoders = {"bert": BERTEncoder, "electra": ELECTRAEncoder}
    assert kind in encoders, f"no encoder for {kind}"
    encoder = encoders[kind].from_fsspec(fs=LocalFileSystem(), model_path=str(folder)).eval()
    outputs = []
    for ids in map(torch.tensor, read_expected(folder, "ids")):
        with torch.no_grad():
            output = encoder(ids, AttentionMask(torch.ones_like(ids, dtype=torch.bool)))
        outputs.append(output.last_hidden_layer_state.numpy())
    return type(encoder).__name__, measure_difference(outputs, read_expected(folder, "states"))


def check_spacy(folder: Path) -> Result:
    """A pipeline that begins with the folder's weights and word pieces: the states of a text's word pieces."""
    import spacy

    shape, package = read_config(folder), "spacy-curated-transformers"
    model = {
        "@architectures": f"{package}.BertTransformer.v1",
        "vocab_size": shape["vocab_size"],
        "hidden_width": shape["hidden_size"],
        "intermediate_width": shape["intermediate_size"],
        "num_attention_heads": shape["num_attention_heads"],
        "num_hidden_layers": shape["num_hidden_layers"],
        "max_position_embeddings": shape["max_position_embeddings"],
        "piece_encoder": {"@architectures": f"{package}.BertWordpieceEncoder.v1"},
        "with_spans": {"@architectures": f"{package}.WithStridedSpans.v1", "stride": 400, "window": 500},
    }
    vocabulary = {"path": str(folder / "vocab.txt"), "lowercase": True, "strip_accents": True}
    pipeline = spacy.blank("en")
    pipeline.add_pipe("curated_transformer", name="transformer", config={"model": model})
    pipeline.config["initialize"]["components"]["transformer"] = {
        "encoder_loader": {"@model_loaders": f"{package}.HFTransformerEncoderLoader.v1", "name": str(folder)},
        "piecer_loader": {"@model_loaders": f"{package}.WordpieceLoader.v1"} | vocabulary,
    }
    pipeline.initialize()
    states = pipeline(TEXTS[0])._.trf_data.last_hidden_layer_state.dataXd
    return "BertTransformer", measure_difference([states], [read_expected(folder, "states")[0][0, 1:-1]])


def check_mlx(folder: Path) -> Result:
    """What mlx-embeddings calls last_hidden_state is, of a ModernBERT, its first token's state or the mean of them."""
    import mlx.core as mx
    from mlx_embeddings import load

    model, _ = load(str(folder))
    ids = read_expected(folder, "ids")
    outputs = [np.array(model(mx.array(each), attention_mask=mx.ones(each.shape)).last_hidden_state) for each in ids]
    wanted = read_expected(folder, "states")
    if outputs[0].ndim == 2:
        first = read_config(folder)["classifier_pooling"] == "cls"
        wanted = [states[:, 0] if first else states.mean(1) for states in wanted]
    return type(model).__module__.rpartition(".")[2], measure_difference(outputs, wanted)


CHECKS: dict[str, Callable[[Path], Result]] = {
    "transformers": check_transformers,
    "sentence-transformers": check_sentence_transformers,
    "setfit": check_setfit,
    "pylate": check_pylate,
    "gliner": check_gliner,
    "model2vec": check_model2vec,
    "curated-transformers": check_curated_transformers,
    "spacy": check_spacy,
    "mlx-embeddings": check_mlx,
}


def main(library: str, folders: list[str]) -> None:
    for folder in map(Path, folders):
        line: dict[str, object] = {"folder": folder.name}
        try:
            loaded, difference = CHECKS[library](folder)
            line |= {"loaded": loaded, "difference": difference}
        except Exception as error:  # the result of the trial
            line |= {"error": " ".join(f"{type(error).__name__}: {error}".split())[:200]}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
