"""``electra evaluate``: what encoders know without being tuned, several side by side."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from electra import files
from electra.config import check_ranges
from electra.dataset.layout import RowLengthOrZero
from electra.engine.parallel import Parallel, flush_denormals, start_threads
from electra.errors import UserError, convert_errors
from electra.files import write_whole
from electra.interchange import encoders
from electra.progress import print_warnings
from electra.ranges import Count, CountOrZero
from electra.report import precision_recall
from electra.report.plain_json import format_json
from electra.report.tables import format_table
from electra.tasks.catalogue import TaskChoice, load_problems, print_problems
from electra.tasks.finetuning.sequences import Sequences
from electra.tasks.finetuning.tagging import Tagging
from electra.tasks.frozen import minimal_pairs, retrieval, sentence_scores
from electra.tasks.frozen.held_out import evaluate_held_out, measure_identity_auc
from electra.tasks.frozen.similarity import measure_similarity
from electra.tasks.frozen.tag_probe import ProbedProblem, probe_problem
from electra.workflows import evaluation_file
from electra.workflows.trained import Trained

TEXT_LENGTH = 128  # tokens read of a labelled text

ModelScores = Mapping[str, float]


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
    probe: a linear model of each frozen layer, for texts or for tags of words. similarity: STS-B by the cosine of each
    layer's means."""
    data: str = ""
    """See above."""
    on: TaskChoice = field(default_factory=TaskChoice)
    rows: Count = 512
    """Rows of held-out text to read."""
    length: RowLengthOrZero = 0
    """Tokens a row, or read of a labelled text; 0: the run's last phase's, and 128."""
    within_word: bool = False
    """Minimal pairs, masked language models: mask the rest of a word with its piece (Kauf and Ivanova, 2023)."""
    limit: CountOrZero = 0
    """Minimal pairs or labelled texts to read of each file; 0: all."""
    preview: bool = False
    """probe, similarity: print what is read of the files, with the first rows of each, and stop. It needs no model."""
    picture: str = "precision-recall.png"
    """replaced: the file to draw the curves into."""
    out: str = ""
    """File to write the figures into too, as JSON that `electra report` shows."""
    json: bool = False
    """Print JSON instead of a table."""


def evaluate(config: EvaluateConfig) -> dict[str, ModelScores]:
    """Print and return the figures of each model, by its folder and by their names: of none with ``preview``.

    Raises:
        UserError: a folder without what the task needs, or data that cannot be.
    """
    check_ranges(config)
    if config.preview:
        if config.task not in ("probe", "similarity"):
            raise UserError(
                f"--task {config.task} reads no labelled files; --preview shows those of probe and similarity"
            )
        load_labelled_problem(config)
        return {}
    if not config.models:
        raise UserError("which model? electra evaluate FOLDER … --task held-out")
    if config.out:
        files.refuse_foreign_file(Path(config.out), evaluation_file.SIGN)
    start_threads()
    with flush_denormals():
        scores = EVALUATIONS[config.task](config)
    if config.out:
        keep_scores(config, scores)
    print(format_json(scores) if config.json else format_model_scores(config.task, scores))
    return scores


def keep_scores(config: EvaluateConfig, scores: Mapping[str, ModelScores]) -> None:
    """Write the figures into the file ``config.out``. Raises ``UserError`` if it cannot be written."""
    labelled = config.on.task or config.on.train
    evaluation = evaluation_file.Evaluation(
        "electra evaluation", 1, config.task, config.data or labelled, config.rows, config.limit,
        {model: dict(figures) for model, figures in scores.items()},
    )  # fmt: skip
    evaluation_file.write_evaluation(Path(config.out), evaluation)
    if not config.json:
        print(f"{config.out}: the figures")


def format_model_scores(title: str, scores: Mapping[str, ModelScores]) -> str:
    """A table with a column for each model, empty where a model has no such figure."""
    names = dict.fromkeys(name for figures in scores.values() for name in figures)
    rows = [[name, *(format_figure(figures.get(name)) for figures in scores.values())] for name in names]
    return format_table([title, *scores], rows)


def format_figure(value: float | None) -> str:
    """A table's cell: whole numbers as they are, others with four digits."""
    return "" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def evaluate_held_out_text(config: EvaluateConfig) -> dict[str, ModelScores]:
    """The objective's own figures on held-out text; for a discriminator also what guessing by token alone comes to."""
    scores: dict[str, ModelScores] = {}
    for model in config.models:
        run = Trained.open(Path(model), config.data, config.length)
        rows = run.rows("held-out")
        figures = evaluate_held_out(run.pretrainer, rows, config.rows, run.batch_rows, Parallel.alone())
        if "discriminator" in run.pretrainer.parts():
            figures["discriminator/identity_auc"] = measure_identity_auc(
                run.pretrainer, run.rows("train"), rows, config.rows, run.batch_rows, Parallel.local_device()
            )
        scores[model] = figures
    return scores


def evaluate_replaced_tokens(config: EvaluateConfig) -> dict[str, ModelScores]:
    """Precision and recall of replaced tokens, with the curves as a picture."""
    files.refuse_foreign_file(Path(config.picture), precision_recall.SIGN)
    curves = {}
    for model in config.models:
        run = Trained.open(Path(model), config.data, config.length)
        rows = run.rows("held-out")
        batches = retrieval.judge_batches(run.pretrainer, rows, config.rows, run.batch_rows, Parallel.local_device())
        curves[model] = retrieval.compute_retrieval(*retrieval.score_tokens(batches))
    with convert_errors(config.picture, OSError, ValueError), write_whole(Path(config.picture)) as file:
        precision_recall.draw_precision_recall(curves, file)
    if not config.json:
        print(f"{config.picture}: the curves")
    return {model: curve.figures() for model, curve in curves.items()}


def evaluate_on_minimal_pairs(config: EvaluateConfig) -> dict[str, ModelScores]:
    """How often the better sentence gets the better score: by phenomenon, and in all."""
    if not config.data:
        raise UserError("--data is missing: a folder of .jsonl with sentence_good and sentence_bad, such as BLiMP's")
    scores: dict[str, ModelScores] = {}
    for model in config.models:
        scorer = sentence_scores.load_scorer(Path(model), Parallel.local_device(), config.within_word)
        result = minimal_pairs.evaluate_pairs(Path(config.data), scorer, config.limit)
        print_warnings(result["notes"], aside=config.json)
        by_phenomenon = {name: figures["accuracy"] for name, figures in result["phenomena"].items()}
        scores[model] = by_phenomenon | {name: result[name] for name in ("accuracy", "ties", "pairs", "seconds")}
        if not config.json:
            print(f"{model}: {result['score']}")
    return scores


def evaluate_by_probe(config: EvaluateConfig) -> dict[str, ModelScores]:
    """The figures of a linear model of each frozen layer, and of all layers side by side."""
    problem, length, device = load_labelled_problem(config), config.length or TEXT_LENGTH, Parallel.local_device()
    return {
        model: probe_problem(*encoders.load_encoder(Path(model)), problem, length, device, config.limit)
        for model in config.models
    }


def evaluate_by_similarity(config: EvaluateConfig) -> dict[str, ModelScores]:
    """Spearman's correlation of each layer's cosines with the scores of pairs of sentences, and the best layer."""
    problem, length = load_labelled_problem(config), config.length or TEXT_LENGTH
    if not isinstance(problem, Sequences):
        raise UserError(f"--task {config.task}: pairs of texts with a score, such as --on.task sts-b")
    scores: dict[str, ModelScores] = {}
    for model in config.models:
        layers = measure_similarity(*encoders.load_encoder(Path(model)), problem.task, length, Parallel.local_device())
        best = max(layers, key=layers.__getitem__)
        scores[model] = {f"layer {layer}": value for layer, value in layers.items()} | {
            "best": layers[best], "best_layer": best,
        }  # fmt: skip
    return scores


def load_labelled_problem(config: EvaluateConfig) -> ProbedProblem:
    """The labelled task that ``config.on`` names; what is read is printed.

    Raises:
        UserError: as ``load_problems``; or it is not one task of texts or of tags.
    """
    problems, warnings = load_problems(config.on)
    aside = config.json and not config.preview
    print_warnings(warnings, aside)
    print_problems(problems, config.preview, aside)
    if len(problems) == 1 and isinstance(problems[0], Sequences | Tagging):
        return problems[0]
    raise UserError(
        f"--task {config.task}: one task of texts with classes or scores, or of tags; --on.task cola, or --on.train"
    )


EVALUATIONS: dict[str, Callable[[EvaluateConfig], dict[str, ModelScores]]] = {
    "held-out": evaluate_held_out_text,
    "replaced": evaluate_replaced_tokens,
    "minimal-pairs": evaluate_on_minimal_pairs,
    "probe": evaluate_by_probe,
    "similarity": evaluate_by_similarity,
}
