"""The judges of ``electra compare``: probes and fine-tuning on labelled tasks, and minimal pairs."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from electra import config as configs
from electra import files, fingerprints
from electra.dataset.data import Data
from electra.engine.parallel import Parallel, flush_denormals
from electra.errors import UserError
from electra.interchange import encoders
from electra.interchange.folders import fingerprint_encoder
from electra.interchange.huggingface import MODEL_KIND as KIND
from electra.run_folder import join_differences, list_differences, read_json, write_json
from electra.tasks.datasets.samples import Task
from electra.tasks.finetuning.problem import FineTuning
from electra.tasks.finetuning.run import MODEL, FineTuningRun, RunSettings, hash_contents
from electra.tasks.finetuning.sequences import Sequences
from electra.tasks.finetuning.tagging import Tagging
from electra.tasks.frozen import minimal_pairs, sentence_scores
from electra.tasks.frozen.cloze import probe_cloze
from electra.tasks.frozen.similarity import measure_similarity
from electra.tasks.frozen.tag_probe import ProbedProblem, probe_problem

PROBED_LENGTH = 128  # tokens that a probe reads of a text
ENCODER_KEY = "encoder"  # in what scores depend on: a hash of weights, config and tokenizer


@runtime_checkable
class Judge(Protocol):
    """Scores encoders. ``inputs``: all that the scores depend on besides the encoder and its seed."""

    name: str
    inputs: dict[str, Any]  # JSON

    def score(self, encoder: Path, seed: int) -> dict[str, float] | None:
        """Score the encoder in a folder; returns values by name, or None if a signal stopped the work."""


class ProbeJudge:
    """Scores by linear probes of the frozen encoder: of all its layers side by side, the best one, and the last."""

    def __init__(self, problem: ProbedProblem, texts: int):
        """``texts``: how many the probe reads of each split; 0: all."""
        self.name, self.problem, self.texts = f"probe-{problem.name}", keep_judged_splits(problem), texts
        self.inputs = {"task": self.problem.contents(), "texts": texts}

    def score(self, encoder: Path, seed: int) -> dict[str, float]:
        """Fit a probe to each layer of the encoder and judge it on the task's dev split."""
        reader, tokenizer = encoders.load_encoder(encoder)
        with flush_denormals():
            figures = probe_problem(reader, tokenizer, self.problem, PROBED_LENGTH, Parallel.local_device(), self.texts)
        last = max(int(name.split()[1]) for name in figures if name.startswith("layer "))
        scores = {"all layers": "all layers", "best layer": "best", "last layer": f"layer {last}"}
        return {f"{self.problem.name}: probe, {name}": figures[figure] for name, figure in scores.items()}


class SimilarityJudge:
    """Scores by the cosines of the frozen layers' mean states, which are to rank pairs of texts as people did."""

    def __init__(self, task: Task):
        """``task``: one that ``scores_pairs``."""
        self.name, self.task = f"similarity-{task.name}", replace(task, splits={"dev": task.splits["dev"]})
        self.inputs = {"task": Sequences(self.task).contents()}

    def score(self, encoder: Path, seed: int) -> dict[str, float]:
        """Spearman's correlation of the best layer's cosines, and of the last one's, with dev's scores."""
        reader, tokenizer = encoders.load_encoder(encoder)
        with flush_denormals():
            layers = measure_similarity(reader, tokenizer, self.task, PROBED_LENGTH, Parallel.local_device())
        scores = {"best layer": max(layers.values()), "last layer": layers[max(layers)]}
        return {f"{self.task.name}: similarity, {name}": value for name, value in scores.items()}


class TuningJudge:
    """Scores by fine-tuning: the mean over some seeds."""

    def __init__(self, problem: ProbedProblem, tuning: FineTuning, seeds: int):
        """``seeds``: how many fine-tunings of each encoder."""
        self.name, self.problem = f"tuned-{problem.name}", keep_judged_splits(problem)
        self.tuning, self.seeds = tuning, seeds
        self.inputs = {"task": self.problem.contents(), "tuning": configs.plain_tree(tuning), "seeds": seeds}

    def score(self, encoder: Path, seed: int) -> dict[str, float] | None:
        """Fine-tune the encoder with each seed, in its folder, and average the first metric on the dev split."""
        problem, values = self.problem, list[float]()
        contents = hash_contents(problem, encoder)
        for number in range((seed - 1) * self.seeds + 1, seed * self.seeds + 1):  # no two encoders of one objective
            folder = encoder / "tuned" / problem.name / f"seed-{number}"
            run = FineTuningRun(problem, encoder, RunSettings(self.tuning), number, folder, contents)
            figures = run.train_and_judge(Parallel.start())
            if figures is None:
                return None
            values.append(figures[problem.evaluated[0]][problem.metrics[0]])
            files.remove_folder(folder / MODEL, KIND)
        return {f"{problem.name}: fine-tuned, {problem.metrics[0]}": sum(values) / len(values)}


def keep_judged_splits(problem: ProbedProblem) -> ProbedProblem:
    """The problem with the splits that are read: train, and the first one with labels."""
    names = ("train", problem.evaluated[0])
    if isinstance(problem, Tagging):
        return Tagging(problem.name, {name: problem.sentences[name] for name in names})
    return Sequences(replace(problem.task, splits={name: problem.task.splits[name] for name in names}))


class ClozeJudge:
    """Scores by a cloze probe on the data that the encoders were trained on."""

    name = "cloze"

    def __init__(self, data: Data):
        self.data, self.inputs = data, {"data": [data.train.fingerprint, data.held_out.fingerprint]}

    def score(self, encoder: Path, seed: int) -> dict[str, float]:
        """The shares of tokens that a fresh head gets right from the frozen encoder's states."""
        reader, _ = encoders.load_encoder(encoder)
        with flush_denormals():
            figures = probe_cloze(reader, self.data, Parallel.local_device())
        return {f"cloze probe, {name}": value for name, value in figures.items()}


class PairsJudge:
    """Scores by minimal pairs: how often the better sentence gets the better score."""

    name = "minimal-pairs"

    def __init__(self, path: Path, limit: int):
        """``limit``: pairs of each paradigm to read; 0: all. Raises ``UserError`` for files without minimal pairs."""
        self.path, self.limit = path, limit
        pairs, self.notes = minimal_pairs.read_pairs(path)
        self.inputs = {"pairs": fingerprints.hash_values(pair[:4] for pair in pairs), "limit": limit}

    def score(self, encoder: Path, seed: int) -> dict[str, float]:
        """The share of the pairs that the encoder's own head gets right."""
        with flush_denormals():
            scorer = sentence_scores.load_scorer(encoder, Parallel.local_device())
            figures = minimal_pairs.evaluate_pairs(self.path, scorer, self.limit)
        return {"minimal pairs": figures["accuracy"]}


def scores_path(encoder: Path, judge: Judge) -> Path:
    """The file of the judge's scores of the encoder in a folder."""
    return encoder / "scores" / f"{judge.name}.json"


def describe_judging(judge: Judge, encoder: Path) -> dict[str, Any]:
    """All that a judge's scores of the encoder in a folder depend on, as JSON has it."""
    return configs.plain_tree(judge.inputs | {ENCODER_KEY: fingerprint_encoder(encoder)})


def read_scores(judge: Judge, encoder: Path) -> dict[str, float] | None:
    """The scores that the judge gave the encoder in a folder earlier; None if there are none.

    Raises:
        UserError: they depended on something else then: the judge's inputs, the encoder's weights, or the file does not
            say which encoder was scored.
    """
    path = scores_path(encoder, judge)
    if not path.is_file():
        return None
    before = read_json(path, "remove it", dict[Literal["asked", "scores"], dict[str, Any]])
    if not before.keys() >= {"asked", "scores"}:
        raise UserError(f"{path}: damaged; remove it")
    if ENCODER_KEY not in before["asked"]:
        raise UserError(
            f"{path}: of an earlier version, which does not say what encoder was scored; choose another --out, or "
            "remove it"
        )
    if changed := list_differences(before["asked"], describe_judging(judge, encoder)):
        raise UserError(f"{path}: scored otherwise: {join_differences(changed)}; choose another --out, or remove it")
    return before["scores"]


def score_encoder(judge: Judge, encoder: Path, seed: int) -> dict[str, float] | None:
    """Take the judge's earlier scores, or let it score and keep them; None if a signal stopped the work.

    Raises:
        UserError: as ``read_scores``.
    """
    if (before := read_scores(judge, encoder)) is not None:
        return before
    scores = judge.score(encoder, seed)
    if scores is not None:
        path = scores_path(encoder, judge)
        files.make_folder(path.parent)
        files.remove_partial_files(path.parent)
        write_json(path, {"asked": describe_judging(judge, encoder), "scores": scores}, indent=1)
    return scores
