"""The similarity of sentences at each depth of an encoder: what a loop over texts computes of what is exported."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from scipy import stats

from electra.errors import UserError
from electra.tasks.datasets.labelled import Columns
from electra.tasks.frozen.depth import measure_depths, read_scored_pairs
from electra.tokenization.training import train_tokenizer
from finetuning import CLASSIC, MODERN, exported, sentences

COLUMNS = Columns("sentence1", "sentence2", "score")


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokens")
    train_tokenizer([text for text, _ in sentences(200, 3)], 120).save(folder)
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of texts with the share of their words that both have, as a table with quotes for letters."""
    file = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    rows = ["score\tsentence1\tsentence2"]
    for (one, _), (other, _) in zip(sentences(30, 1), sentences(30, 2), strict=True):
        a, b = set(one.split()), set(other.split())
        rows.append(f'{len(a & b) / len(a | b):.3f}\t"{one}\t{other}')
    file.write_text("\n".join(rows) + "\n")
    return file


@pytest.mark.parametrize(("shape", "pooling"), [(CLASSIC, "mean"), (MODERN, "cls")], ids=["classic", "modern"])
def test_each_depth_is_judged_as_it_would_be_exported(
    shape, pooling, tokens: Path, pairs: Path, tmp_path: Path
) -> None:
    folder = exported(tmp_path / "encoder", replace(shape, init_std=0.3), tokens)
    task = read_scored_pairs(pairs, COLUMNS)
    measured = measure_depths(folder, task, pooling, torch.device("cpu"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    scores = [sample.label for sample in task.splits["dev"]]
    expected = {}
    for depth in (1, 2):
        settings = {"num_hidden_layers": depth}
        if shape is MODERN:
            settings["layer_types"] = transformers.AutoConfig.from_pretrained(folder).layer_types[:depth]
        model = transformers.AutoModel.from_pretrained(folder, **settings).eval()
        cosines = []
        for sample in task.splits["dev"]:
            vectors = []
            for text in (sample.text, sample.pair):
                with torch.no_grad():
                    states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
                vectors.append(states[0] if pooling == "cls" else states.mean(0))
            cosines.append(float(torch.cosine_similarity(*vectors, dim=0)))
        expected[depth] = float(stats.spearmanr(scores, cosines)[0])
    assert measured == pytest.approx(expected, abs=2e-3)
    assert abs(measured[1] - measured[2]) > 1e-3, "two layers that say the same choose nothing"


def test_a_file_without_scores_is_refused(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no 'label': 'score'"):
        read_scored_pairs(pairs, Columns())
    wrong = tmp_path / "wrong.tsv"
    wrong.write_text(pairs.read_text() + "high\ta\tb\n")
    with pytest.raises(UserError, match="line 32: score 'high'"):
        read_scored_pairs(wrong, COLUMNS)
