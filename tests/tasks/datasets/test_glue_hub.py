"""GLUE as the Hub has it: the same rows under other names, from a data set of that layout on the disk."""

from pathlib import Path

import pytest

from electra.errors import UserError
from electra.tasks.datasets import glue_hub
from electra.tasks.datasets.samples import Sample

datasets = pytest.importorskip("datasets", reason="needs the package datasets")

LAYOUT = {
    "mnli": ["train", "validation_matched", "validation_mismatched", "test_matched", "test_mismatched"],
    "ax": ["test"],
    "cola": ["train", "validation", "test"],
    "stsb": ["train", "validation", "test"],
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with configs of GLUE's names and features."""
    folder = tmp_path_factory.mktemp("glue")
    datasets.config.HF_DATASETS_CACHE = tmp_path_factory.mktemp("cache")  # theirs is keyed by path: an older run's
    nli = datasets.ClassLabel(names=["entailment", "neutral", "contradiction"])
    yes = datasets.ClassLabel(names=["unacceptable", "acceptable"])
    rows = {
        "mnli": ({"premise": ["a", "b", "c"], "hypothesis": ["x", "y", "z"], "label": [0, 1, 2]}, nli),
        "ax": ({"premise": ["d"], "hypothesis": ["w"], "label": [-1]}, nli),
        "cola": ({"sentence": ["good", "bad"], "label": [1, 0]}, yes),
        "stsb": ({"sentence1": ["a", "c"], "sentence2": ["b", "d"], "label": [3.5, 1.0]}, datasets.Value("float32")),
    }
    lines = ["---", "configs:"]
    for config, splits in LAYOUT.items():
        lines += [f"- config_name: {config}", "  data_files:"]
        values, label = rows[config]
        for split in splits:
            content = dict(values)
            if split.startswith("test"):
                content["label"] = [-1] * len(values["label"])
            data = datasets.Dataset.from_dict(content).cast_column("label", label)
            (folder / config).mkdir(exist_ok=True)
            data.to_parquet(folder / config / f"{split}.parquet")
            lines += [f"  - split: {split}", f"    path: {config}/{split}.parquet"]
    (folder / "README.md").write_text("\n".join([*lines, "---"]))
    return folder


def test_classes_are_ours_whatever_their_order_there(home: Path) -> None:
    task, notes = glue_hub.load_glue_from_hub("mnli", f"hub:{home}")
    assert task.splits["train"] == [Sample("a", "x", 1), Sample("b", "y", 2), Sample("c", "z", 0)]
    assert task.labels == ("contradiction", "entailment", "neutral")
    assert set(task.splits) == {"train", "dev", "dev-mismatched", "test", "test-mismatched", "diagnostic"}
    assert task.evaluated == ["dev", "dev-mismatched"] and task.splits["diagnostic"][0] == Sample("d", "w", None)
    assert any("train: 3 rows, and 392,702 as published" in line for line in notes)


def test_single_sentences_and_scores(home: Path) -> None:
    assert glue_hub.load_glue_from_hub("cola", f"hub:{home}")[0].splits["dev"] == [
        Sample("good", None, 1),
        Sample("bad", None, 0),
    ]
    assert glue_hub.load_glue_from_hub("sts-b", f"hub:{home}")[0].splits["train"] == [
        Sample("a", "b", 3.5),
        Sample("c", "d", 1.0),
    ]


def test_what_is_not_there_is_said(home: Path) -> None:
    with pytest.raises(UserError, match=r"rte: datasets cannot load this: .*rte"):
        glue_hub.load_glue_from_hub("rte", f"hub:{home}")
