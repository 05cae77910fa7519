"""``--format sentence-transformers``: what ``SentenceTransformer(folder)`` computes in a process of its own."""

import importlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from electra.errors import UserError
from electra.interchange.encoders import Inputs, load_encoder
from electra.interchange.huggingface import save_tower
from electra.model.config import EncoderConfig
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.tasks.finetuning.examples import encode_texts
from electra.tokenization.loading import load_tokenizer
from electra.tokenization.training import train_tokenizer
from electra.workflows.export import ExportConfig, export
from electra.workflows.exporting.sentences import SentenceTransformersConfig
from finetuning import CLASSIC, MODERN, exported, sentences

ROOT = Path(__file__).parents[2]
CLASSIC, MODERN = replace(CLASSIC, init_std=0.2), replace(MODERN, init_std=0.2)
# Of different lengths, with what a tokenizer may treat otherwise: marks of special tokens, accents, nothing, too much.
TEXTS = [
    "w1 w2 alpha", "w3", "", "[MASK] w4 [SEP] W5 é", " ".join(["w1", "w7", "omega"] * 30), "w9 w10 w11 w12 w13 w14",
]  # fmt: skip
EXPORTS: dict[str, tuple[EncoderConfig | None, str, int]] = {
    "classic": (CLASSIC, "mean", 0),
    "classic, one layer": (CLASSIC, "mean", 1),
    "as wide as its embeddings": (replace(CLASSIC, embedding_size=32), "cls", 0),
    "modern": (MODERN, "mean", 0),
    "modern, one layer": (MODERN, "cls", 1),
    "distilbert": (None, "mean", 1),
}
SCRIPT = """
import json, sys, warnings
warnings.simplefilter("error", DeprecationWarning)
warnings.simplefilter("error", FutureWarning)
sys.path.insert(0, sys.argv[1])
from sentence_transformers import SentenceTransformer
folders, texts, tuning = json.loads(sys.argv[2])
models = {name: SentenceTransformer(folder) for name, folder in folders.items()}
vectors = {name: model.encode(texts, batch_size=4).tolist() for name, model in models.items()}
similar = {name: model.similarity_fn_name for name, model in models.items()}
import embeddings
embeddings.main(tuning)
print(json.dumps([vectors, similar, SentenceTransformer(tuning[2]).encode(texts).tolist()]))
"""


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokens")
    train_tokenizer([text for text, _ in sentences(300, 0)], 120).save(folder)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tokens: Path) -> dict[str, Path]:
    """Folders with a tower, as a run's final/ has them."""
    folder = tmp_path_factory.mktemp("runs")
    for name, (shape, _, keep_layers) in EXPORTS.items():
        if shape is None:  # one of transformers', whose config has names of its own, as `electra finetune` tunes them
            config = transformers.DistilBertConfig(
                vocab_size=120,
                dim=32,
                n_layers=2,
                n_heads=2,
                hidden_dim=64,
                max_position_embeddings=48,
                initializer_range=0.2,
            )
            torch.manual_seed(0)
            transformers.DistilBertModel(config).save_pretrained(folder / name)
            load_tokenizer(tokens).save(folder / name)
        elif keep_layers:  # a generator, whose own tokenizer takes [MASK] in a text for a mask
            torch.manual_seed(0)
            save_tower(folder / name / "generator", Tower.token(shape, build_embeddings(shape)), tokens, None)
        else:
            exported(folder / name / "discriminator", shape, tokens)
    return {name: folder / name for name in EXPORTS}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs with the share of words that both texts have."""
    file = tmp_path_factory.mktemp("pairs") / "dev.tsv"
    rows = ["index\tsentence1\tsentence2\tscore"]
    for index, ((one, _), (other, _)) in enumerate(zip(sentences(40, 1), sentences(40, 2), strict=True)):
        a, b = set(one.split()), set(other.split())
        rows.append(f"{index}\t{one}\t{other}\t{len(a & b) / len(a | b):.3f}")
    file.write_text("\n".join(rows) + "\n")
    return file


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, runs: dict[str, Path], pairs: Path
) -> tuple[dict[str, Path], dict[str, list[list[float]]], list[list[float]]]:
    """The exported folders; the vectors that each gives in a fresh process; those of the modern one after two steps of
    the example, whose lines are a sentence or a pair."""
    out = tmp_path_factory.mktemp("hub")
    folders = {}
    for name, (_, pooling, keep_layers) in EXPORTS.items():
        settings = SentenceTransformersConfig(pooling=pooling)
        folders[name] = export(
            ExportConfig(
                run=str(runs[name]), out=str(out / name), format="sentence-transformers", as_="encoder",
                keep_layers=keep_layers, sentence_transformers=settings,
            )
        )  # fmt: skip
    lines = [f"{one}\t{other}" for (one, _), (other, _) in zip(sentences(20, 5), sentences(20, 6), strict=True)]
    lines += [one for one, _ in sentences(20, 7)]
    (out / "pairs.tsv").write_text("\n".join(lines) + "\n")
    tuning = [folders["modern"], out / "pairs.tsv", out / "tuned", "--judge", pairs, "--steps", 2, "--batch", 8]
    asked = json.dumps([{name: str(folder) for name, folder in folders.items()}, TEXTS, list(map(str, tuning))])
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(ROOT / "examples"), asked], capture_output=True, text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"}, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert any(line.startswith("before: ") for line in lines) and any(line.startswith("after: ") for line in lines)
    vectors, similar, tuned = json.loads(lines[-1])
    assert set(similar.values()) == {"cosine"}
    return folders, vectors, tuned


@pytest.mark.parametrize("name", EXPORTS)
def test_the_library_gives_our_vectors(name: str, runs: dict[str, Path], served) -> None:
    _, pooling, keep_layers = EXPORTS[name]
    reader, tokenizer = load_encoder(runs[name], keep_layers)
    expected = []
    for ids, segments in encode_texts([(text, None) for text in TEXTS], tokenizer, reader.longest):
        row = torch.tensor([ids])
        inputs = Inputs(row, torch.arange(len(ids))[None], torch.tensor([segments]), torch.ones_like(row))
        with torch.no_grad():
            states = reader.hidden_states(inputs, None)[-1][0]
        expected.append(states.mean(0) if pooling == "mean" else states[0])
    found = torch.tensor(served[1][name])
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-5, rtol=0)
    assert torch.pdist(found).min() > 1e-2, "vectors that are all alike compare nothing"


def test_the_folder_has_an_encoder_without_a_head(served) -> None:
    for name, (_, _, keep_layers) in EXPORTS.items():
        folder = served[0][name]
        settings = json.loads((folder / "config.json").read_text())
        assert settings.get("num_hidden_layers", settings.get("n_layers")) == (keep_layers or 2)
        assert settings["architectures"][0] in ("ElectraModel", "BertModel", "ModernBertModel", "DistilBertModel")
        assert not [tensor for tensor in load_file(folder / "model.safetensors") if "predictions" in tensor]


def test_the_example_tunes_with_dropout(served) -> None:
    folders, vectors, tuned = served
    settings = json.loads((folders["modern"].parent / "tuned" / "config.json").read_text())
    assert settings["mlp_dropout"] == settings["attention_dropout"] == settings["embedding_dropout"] == 0.1
    moved = np.abs(np.array(tuned) - np.array(vectors["modern"])).max()
    assert 1e-5 < moved < 1


@pytest.fixture(scope="module")
def example() -> ModuleType:
    """examples/embeddings.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "examples"))
        return importlib.import_module("embeddings")


def test_the_example_tunes_to_scores(served, pairs: Path, example: ModuleType, tmp_path: Path) -> None:
    """Of scores that follow from the words, four epochs show a good part."""
    rows = [line.split("\t")[1:] for line in pairs.read_text().splitlines()[1:]]
    (tmp_path / "scored.tsv").write_text("\n".join("\t".join(row) for row in rows) + "\n")
    scored = example.read_pairs(tmp_path / "scored.tsv")
    assert scored == [(one, other, float(score)) for one, other, score in rows]
    before = example.judge(SentenceTransformer(str(served[0]["modern"])), pairs)
    tuned = example.tune(
        str(served[0]["modern"]), scored, str(tmp_path / "out"), 4, batch=8, learning_rate=1e-3, dropout=0.0
    )
    assert example.judge(tuned, pairs) > before + 0.1


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a b\tc\t3.5\n\nd\te\n", "line 3: 2 fields, expected three, as in the first line"),
        ("a b\tc\nd\te\t1\n", "line 2: 3 fields, expected one or two"),
        ("\n", "nothing in it; expected a pair of sentences a line"),
        ("a b\tc\t3.5\nd\te\tnan\n", "line 2: 'nan' is no score; expected a number such as 3.8"),
    ],
)
def test_the_example_refuses_other_lines(lines: str, message: str, example: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text(lines)
    with pytest.raises(SystemExit, match=message):
        example.read_pairs(tmp_path / "pairs.tsv")


def test_the_example_writes_over_nothing(pairs: Path, example: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("mine")
    for out in (tmp_path / "mine", tmp_path / "mine" / "README.md"):
        with pytest.raises(SystemExit, match="is there already; choose another folder"):
            example.main([str(tmp_path), str(pairs), str(out)])
    assert (tmp_path / "mine" / "README.md").read_text() == "mine"


def test_the_depth_is_the_one_that_suits_the_pairs(
    runs: dict[str, Path], pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = SentenceTransformersConfig(probe_data=str(pairs))
    asked = ExportConfig(
        run=str(runs["modern"]), out=str(tmp_path / "hub"), format="sentence-transformers",
        sentence_transformers=settings,
    )  # fmt: skip
    export(asked)
    printed = capsys.readouterr().out
    correlations = {
        int(line.split()[0]): float(line.split()[2].rstrip(","))
        for line in printed.splitlines()
        if " layers: 0." in line or " layers: -0." in line
    }
    assert correlations.keys() == {1, 2}
    best = max(correlations, key=correlations.__getitem__)
    assert json.loads((tmp_path / "hub" / "config.json").read_text())["num_hidden_layers"] == best
    assert f"{best} layers: {correlations[best]:.4f}, the best" in printed
    depth = "the lowest 1 of 2 layers" if best == 1 else "the last layer"
    assert f"the mean of its tokens' states after {depth}." in (tmp_path / "hub" / "README.md").read_text()


@pytest.mark.parametrize(
    ("changes", "settings", "message"),
    [
        ({"keep_layers": 3}, {}, "keep_layers 3: the encoder has 2 layers"),
        ({"as_": "pretraining"}, {}, "as pretraining: sentence-transformers reads an encoder"),
        ({"keep_layers": 1}, {"probe_data": "{pairs}"}, "--keep-layers and --sentence-transformers.probe-data"),
        ({}, {"probe_data": "{pairs}.no.tsv"}, "No such file"),
        ({}, {"probe_data": "{pairs}", "columns": replace(SentenceTransformersConfig().columns, pair="b")}, "no 'b'"),
        ({"format": "hf"}, {"pooling": "cls"}, "--sentence-transformers.*--format"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_left(
    changes: dict, settings: dict, message: str, runs: dict[str, Path], pairs: Path, tmp_path: Path
) -> None:
    told = {key: value.format(pairs=pairs) if isinstance(value, str) else value for key, value in settings.items()}
    asked = ExportConfig(
        run=str(runs["modern"]), out=str(tmp_path / "hub"), format="sentence-transformers",
        sentence_transformers=SentenceTransformersConfig(**told),
    )  # fmt: skip
    with pytest.raises(UserError, match=message) as error:
        export(replace(asked, **changes))
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())
