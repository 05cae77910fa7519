"""``electra evaluate``: what encoders know without being tuned, several side by side."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from electra import files
from electra.engine.parallel import Parallel, flushing, start_threads
from electra.errors import UserError, told_as
from electra.files import whole
from electra.interchange import encoders
from electra.progress import print_warnings
from electra.report import precision_recall
from electra.report.tables import table
from electra.tasks.datasets.catalogue import Asked, problems
from electra.tasks.datasets.samples import Task
from electra.tasks.finetuning.sequences import Sequences
from electra.tasks.frozen import minimal_pairs, retrieval, sentence_scores
from electra.tasks.frozen.held_out import held_out, identity_auc
from electra.tasks.frozen.probes import probe
from electra.tasks.frozen.similarity import similarity
from electra.workflows.trained import Trained

LENGTH = 128  # tokens read of a labelled text

Found = Mapping[str, float]


@dataclass(frozen=True)
class EvaluateConfig:
    """Evaluate a run, an exported folder or any encoder folder of Hugging Face's; or several, side by side.

    held-out, replaced: --data of `electra prepare`, the run's own if left out. minimal-pairs: --data is a folder of
    .jsonl with sentence_good and sentence_bad. probe, similarity: --on.task cola --on.data glue/CoLA, or --on.train
    my.csv --on.dev more.csv.
    """

    models: tuple[str, ...] = ()
    """Folders."""
    task: Literal["held-out", "replaced", "minimal-pairs", "probe", "similarity"] = "held-out"
    """held-out: MLM loss and accuracy, replaced-token figures on corruptions that are the same every time. replaced:
    precision and recall of replaced tokens. minimal-pairs: how often the better sentence (BLiMP) gets the better score.
    probe: a linear model of each frozen layer. similarity: STS-B by the cosine of each layer's means."""
    data: str = ""
    """See above."""
    on: Asked = field(default_factory=Asked)
    rows: int = 512
    """Rows of held-out text to read."""
    length: int = 0
    """Tokens a row, or read of a labelled text; 0: the run's last phase's, and 128."""
    within_word: bool = False
    """Minimal pairs, masked language models: mask the rest of a word with its piece (Kauf and Ivanova, 2023)."""
    limit: int = 0
    """Minimal pairs or labelled texts to read of each file; 0: all."""
    picture: str = "precision-recall.png"
    """replaced: the file to draw the curves into."""
    json: bool = False
    """Print JSON instead of a table."""


def evaluate(config: EvaluateConfig) -> dict[str, Found]:
    """Model → its figures by name.

    Raises:
        UserError: a folder without what the task needs, or data that cannot be.
    """
    if not config.models:
        raise UserError("which model? electra evaluate FOLDER … --task held-out")
    start_threads()
    with flushing():
        found = TASKS[config.task](config)
    if config.json:
        print(json.dumps(found))
    else:
        names = list(dict.fromkeys(name for figures in found.values() for name in figures))
        rows = [[name, *(said(figures.get(name)) for figures in found.values())] for name in names]
        print(table([config.task, *found], rows))
    return found


def said(value: float | None) -> str:
    """A figure in a table."""
    return "" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def on_held_out(config: EvaluateConfig) -> dict[str, Found]:
    """The objective's own figures."""
    found: dict[str, Found] = {}
    for model in config.models:
        run = Trained.open(Path(model), config.data, config.length)
        rows = run.rows("held-out")
        figures = held_out(run.pretrainer, rows, config.rows, run.batch_rows, Parallel.alone())
        if "discriminator" in run.pretrainer.parts():
            figures["discriminator/identity_auc"] = identity_auc(
                run.pretrainer, run.rows("train"), rows, config.rows, run.batch_rows, Parallel.local_device()
            )
        found[model] = figures
    return found


def on_replaced(config: EvaluateConfig) -> dict[str, Found]:
    """Precision and recall of replaced tokens, drawn."""
    files.refuse_foreign_file(Path(config.picture), precision_recall.SIGN)
    curves = {}
    for model in config.models:
        run = Trained.open(Path(model), config.data, config.length)
        rows = run.rows("held-out")
        curves[model] = retrieval.retrieval(run.pretrainer, rows, config.rows, run.batch_rows, Parallel.local_device())
    with told_as(config.picture, OSError, ValueError), whole(Path(config.picture)) as file:
        precision_recall.draw(curves, file)
    if not config.json:
        print(f"{config.picture}: the curves")
    return {model: curve.figures() for model, curve in curves.items()}


def on_minimal_pairs(config: EvaluateConfig) -> dict[str, Found]:
    """How often the better sentence gets the better score, by phenomenon."""
    if not config.data:
        raise UserError("--data is missing: a folder of .jsonl with sentence_good and sentence_bad, such as BLiMP's")
    found: dict[str, Found] = {}
    for model in config.models:
        scorer = sentence_scores.load(Path(model), Parallel.local_device(), config.within_word)
        result = minimal_pairs.evaluate(Path(config.data), scorer, config.limit)
        print_warnings(result["notes"])
        phenomena = {name: each["accuracy"] for name, each in result["phenomena"].items()}
        found[model] = phenomena | {name: result[name] for name in ("accuracy", "ties", "pairs", "seconds")}
        if not config.json:
            print(f"{model}: {result['score']}")
    return found


def on_probe(config: EvaluateConfig) -> dict[str, Found]:
    """A linear model of each frozen layer."""
    task = labelled(config)
    return {
        model: probe(*encoders.load(Path(model)), task, config.length or LENGTH, Parallel.local_device(), config.limit)
        for model in config.models
    }


def on_similarity(config: EvaluateConfig) -> dict[str, Found]:
    """Spearman's correlation of the layers' cosines with scores."""
    task = labelled(config)
    found: dict[str, Found] = {}
    for model in config.models:
        layers = similarity(*encoders.load(Path(model)), task, config.length or LENGTH, Parallel.local_device())
        best = max(layers, key=layers.__getitem__)
        found[model] = {f"layer {layer}": value for layer, value in layers.items()} | {
            "best": layers[best], "best_layer": best,
        }  # fmt: skip
    return found


def labelled(config: EvaluateConfig) -> Task:
    """The one labelled task that is asked for."""
    found, told = problems(config.on)
    print_warnings(told)
    if len(found) != 1 or not isinstance(found[0], Sequences):
        raise UserError(
            f"--task {config.task}: one task of texts with classes or scores; --on.task cola, or --on.train"
        )
    return found[0].task


TASKS: dict[str, Callable[[EvaluateConfig], dict[str, Found]]] = {
    "held-out": on_held_out,
    "replaced": on_replaced,
    "minimal-pairs": on_minimal_pairs,
    "probe": on_probe,
    "similarity": on_similarity,
}
