"""How ``electra compare`` judges an encoder: probes and fine-tuning on labelled tasks, and minimal pairs."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from electra import config as configs
from electra import files, fingerprints
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
from electra.tasks.frozen import minimal_pairs, sentence_scores
from electra.tasks.frozen.probes import probe_layers

PROBED_LENGTH = 128  # tokens that a probe reads of a text
ENCODER_KEY = "encoder"  # in what a judge was asked: a hash of weights, config and tokenizer


@runtime_checkable
class Judge(Protocol):
    """Gives scores by name; ``asked`` is all that they depend on besides the encoder and its seed."""

    name: str
    asked: dict[str, Any]

    def scores(self, encoder: Path, seed: int) -> dict[str, float] | None:
        """Of the encoder in a folder; None if a signal stopped the work."""


class ProbeJudge:
    """Linear probes of the frozen encoder: of all its layers side by side, and of the last."""

    def __init__(self, task: Task, texts: int):
        """``texts``: those that it takes of each split; 0: all."""
        self.name, self.task, self.texts = f"probe-{task.name}", keep_judged_splits(task), texts
        self.asked = {"task": Sequences(self.task).contents(), "texts": texts}

    def scores(self, encoder: Path, seed: int) -> dict[str, float]:
        """The scores of probes fitted to all layers side by side, and to the last."""
        reader, tokenizer = encoders.load_encoder(encoder)
        with flush_denormals():
            probed = probe_layers(reader, tokenizer, self.task, PROBED_LENGTH, Parallel.local_device(), self.texts)
        last = max(int(name.split()[1]) for name in probed if name.startswith("layer "))
        called = f"{self.task.name}: probe"
        return {f"{called}, all layers": probed["all layers"], f"{called}, last layer": probed[f"layer {last}"]}


class TuningJudge:
    """Fine-tuning, the mean of some seeds."""

    def __init__(self, task: Task, tuning: FineTuning, seeds: int):
        """``seeds``: for each encoder."""
        self.name, self.task, self.tuning, self.seeds = f"tuned-{task.name}", keep_judged_splits(task), tuning, seeds
        self.asked = {"task": Sequences(self.task).contents(), "tuning": configs.plain_tree(tuning), "seeds": seeds}

    def scores(self, encoder: Path, seed: int) -> dict[str, float] | None:
        """The mean of the first metric on dev over the fine-tunings; None if a signal stopped the work."""
        problem, tuned = Sequences(self.task), []
        contents = hash_contents(problem, encoder)
        for number in range((seed - 1) * self.seeds + 1, seed * self.seeds + 1):  # no two encoders of one objective
            folder = encoder / "tuned" / self.task.name / f"seed-{number}"
            run = FineTuningRun(problem, encoder, RunSettings(self.tuning), number, folder, contents)
            found = run.figures(Parallel.start())
            if found is None:
                return None
            tuned.append(found[problem.evaluated[0]][problem.metrics[0]])
            files.remove_folder(folder / MODEL, KIND)
        return {f"{self.task.name}: fine-tuned, {problem.metrics[0]}": sum(tuned) / len(tuned)}


def keep_judged_splits(task: Task) -> Task:
    """What of a task is read: train, and the first split with labels."""
    return replace(task, splits={name: task.splits[name] for name in ("train", task.evaluated[0])})


class PairsJudge:
    """How often the better sentence of a minimal pair gets the better score."""

    name = "minimal-pairs"

    def __init__(self, path: Path, limit: int):
        """``limit``: pairs of each paradigm; 0: all. Raises ``UserError`` for files that are none."""
        self.path, self.limit = path, limit
        pairs, self.notes = minimal_pairs.read_pairs(path)
        self.asked = {"pairs": fingerprints.hash_values(pair[:4] for pair in pairs), "limit": limit}

    def scores(self, encoder: Path, seed: int) -> dict[str, float]:
        """The share of pairs whose better sentence gets the better score."""
        with flush_denormals():
            scorer = sentence_scores.load_scorer(encoder, Parallel.local_device())
            found = minimal_pairs.evaluate_pairs(self.path, scorer, self.limit)
        return {"minimal pairs": found["accuracy"]}


def scores_path(encoder: Path, judge: Judge) -> Path:
    """The file of the judge's scores of the encoder in a folder."""
    return encoder / "scores" / f"{judge.name}.json"


def describe_judging(judge: Judge, encoder: Path) -> dict[str, Any]:
    """All that a judge's scores of the encoder in a folder depend on, as JSON gives it back."""
    return configs.plain_tree(judge.asked | {ENCODER_KEY: fingerprint_encoder(encoder)})


def read_scores(judge: Judge, encoder: Path) -> dict[str, float] | None:
    """The scores that a judge gave the encoder in a folder before, if it did.

    Raises:
        UserError: it was asked for others, of an encoder with other weights, or one that the file does not tell.
    """
    path = scores_path(encoder, judge)
    if not path.is_file():
        return None
    before = read_json(path, "remove it")
    if ENCODER_KEY not in before["asked"]:
        raise UserError(
            f"{path}: of an earlier version, which does not say what encoder was scored; choose another --out, or "
            "remove it"
        )
    if changed := list_differences(before["asked"], describe_judging(judge, encoder)):
        raise UserError(f"{path}: scored otherwise: {join_differences(changed)}; choose another --out, or remove it")
    return before["scores"]


def score_encoder(judge: Judge, encoder: Path, seed: int) -> dict[str, float] | None:
    """The judge's scores, or those that it gave before; None if a signal stopped the work.

    Raises:
        UserError: as ``read_scores``.
    """
    if (before := read_scores(judge, encoder)) is not None:
        return before
    found = judge.scores(encoder, seed)
    if found is not None:
        path = scores_path(encoder, judge)
        files.make_folder(path.parent)
        write_json(path, {"asked": describe_judging(judge, encoder), "scores": found}, indent=1)
    return found
