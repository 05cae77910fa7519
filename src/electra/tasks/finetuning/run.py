"""One run of fine-tuning: a problem, an encoder, a seed → figures, predictions and the model, in its own folder."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from electra import files
from electra.config import plain_tree
from electra.engine import checkpoint
from electra.engine.optim import LinearDecay
from electra.engine.parallel import Parallel
from electra.engine.process import hold_folder_for_all
from electra.engine.recorders import LogTarget, start_recorders
from electra.engine.scaling import StagePlan
from electra.engine.stages import Stage
from electra.engine.telemetry import MetricsRecorder, Recorder, SilentRecorder, describe_start, read_metrics
from electra.engine.train import Engine, check_engine, train_stages
from electra.errors import UserError, convert_errors
from electra.files import write_whole
from electra.fingerprints import hash_values
from electra.interchange import encoders, finetuned
from electra.interchange.encoders import Reader
from electra.interchange.folders import find_encoder, fingerprint_encoder
from electra.run_folder import (
    FINETUNING_RUN,
    RESULT,
    Request,
    leave_out,
    list_differences,
    read_json,
    write_json,
)
from electra.strict_json import require_shape
from electra.tasks.finetuning.examples import ExampleSource
from electra.tasks.finetuning.problem import FineTuned, FineTuning, Problem, apply_layer_decay
from electra.tasks.finetuning.protocol import choose_epochs, choose_length, choose_tuning, describe_tuning
from electra.tokenization.tokenizer import Tokenizer

ASKED, CHOSEN, PREDICTIONS = "config.json", "chosen.json", "predictions.json"
BEST, MODEL = "best.safetensors", "model"
CONTENTS = "contents"  # in config.json: hashes of what the figures come from
# What may differ from the run that is there, since it changes figures by rounding at most: names, and settings of the
# engine. Not its micro_rows: by them encoders of transformers draw their dropout.
FREE_OF_ENGINE = (
    "log_every", "save_every", "save_minutes", "keep", "keep_every", "keep_best", "activation_checkpointing",
)  # fmt: skip
FREE = ("task", "model", "settings.log", *(f"settings.engine.{name}" for name in FREE_OF_ENGINE))
EVALUATE_EVERY = "settings.engine.evaluate_every"  # free where no evaluation ends the run

Figures = dict[str, dict[str, float]]  # split → metric → value

# Not compiled: each length of a batch would be compiled anew.
TUNING_ENGINE = Engine(compile="never", evaluate_every=0, save_every=500, keep=1)


@dataclass(frozen=True)
class RunSettings:
    """The settings of a run, whatever its task. ``patience``: evaluations without a better figure after which it ends;
    0: it never ends early. ``keep_layers``: how many of the encoder's layers, the lowest; 0: all. ``log``: where its
    figures go besides metrics.jsonl."""

    tuning: FineTuning = field(default_factory=FineTuning)
    engine: Engine = TUNING_ENGINE
    patience: int = 0
    keep_layers: int = 0
    log: tuple[LogTarget, ...] = ()


def hash_contents(problem: Problem, model: Path) -> dict[str, str]:
    """Hashes of what a run's figures come from: the problem's splits and labels, and the model in a folder."""
    return problem.contents() | {MODEL: fingerprint_encoder(model)}


class FineTuningRun:
    """A run in its folder. With the same settings it goes on where it stopped, or returns what is there."""

    def __init__(
        self, problem: Problem, model: Path, settings: RunSettings, seed: int, folder: Path, contents: Mapping[str, str]
    ):
        """``contents``: the result of ``hash_contents``, which many runs share."""
        self.problem, self.settings, self.seed, self.folder = problem, settings, seed, folder
        self.model = find_encoder(model)
        self.task = finetuned.HeadSpec(problem.model, problem.labels, problem.problem_type, problem.units)
        asked = {"task": problem.name, "model": str(self.model), "seed": seed, "settings": settings}
        self.asked = plain_tree(asked | {CONTENTS: contents})
        self.free = FREE if settings.patience else (*FREE, EVALUATE_EVERY)
        self.request = Request(FINETUNING_RUN, {ASKED: self.asked})

    def train_and_judge(self, parallel: Parallel, deadline: float = math.inf) -> Figures | None:
        """Train the encoder, judge its predictions and write both; returns the figures, or None if it was stopped, as
        ``train_stages`` is.

        Raises:
            UserError: as ``refuse_another``; another process works in the folder; a length that the encoder does not
                read; and as ``encoders.load_encoder`` and ``train_stages``.
        """
        with hold_folder_for_all(parallel, self.folder, FINETUNING_RUN):
            self.refuse_another()
            if result := parallel.ask_first(lambda: self.read(RESULT, Figures)):
                return result
            return self.train_and_write(parallel, deadline)

    def train_and_write(self, parallel: Parallel, deadline: float) -> Figures | None:
        """``train_and_judge`` of a run that is not finished, by the one process or torchrun that holds its folder."""
        net, tokenizer, tuning = self.build_net()
        check_engine(self.settings.engine, net, parallel)
        sources = self.build_sources(net.reader, tokenizer)
        with convert_errors(str(self.folder), OSError):
            if parallel.first:
                self.request.begin(self.folder, describe_start())
            parallel.wait()
            dev = DevEvaluation(self, net, sources, parallel)
            if not self.train(net, tuning, sources["train"], dev, parallel, deadline):
                return None
            predictions = {split: dev.predict(split) for split in self.problem.splits if split != "train"}
            figures = {split: self.problem.judge(split, predictions[split]) for split in self.problem.evaluated}
            if parallel.first:
                self.write(net, tuning, predictions, figures)
            parallel.wait()
        return figures

    def read(self, name: str, shape: Any) -> dict[str, Any]:
        """The content of a JSON file of a ``shape`` in the folder; empty if there is none."""
        path = self.folder / name
        return read_json(path, "remove the folder to run it again", shape) if path.is_file() else {}

    def refuse_another(self) -> None:
        """Compare the run in the folder, if there is one, with this one.

        Raises:
            UserError: it has other settings, a split or a model with other contents, whatever they are called, or it
                does not say what it was made from.
        """
        begun = self.read(ASKED, dict[str, Any])
        if not begun and not (self.folder / RESULT).is_file():
            return
        if CONTENTS not in begun:
            raise UserError(
                f"{self.folder}: holds a run of an earlier version, which does not say what data and model it was made "
                "from; choose another --out"
            )
        made_from = require_shape(begun[CONTENTS], dict[str, str], f"{self.folder / ASKED}: damaged: {CONTENTS}")
        contents = [difference.key for difference in list_differences(made_from, self.asked[CONTENTS])]
        changed = list_differences(begun, self.asked, (*self.free, CONTENTS))
        settings = list(dict.fromkeys(difference.key.partition(".")[0] for difference in changed))
        data = [name for name in contents if name != MODEL]
        others = [f"of other settings ({', '.join(settings)})"] if settings else []
        others += [f"of other data ({', '.join(data)})"] if data else []
        others += [f"of another model than {self.model} holds now"] if MODEL in contents else []
        if others:
            raise UserError(f"{self.folder}: holds a run {' and '.join(others)}; choose another --out, or remove it")

    def build_net(self) -> tuple[FineTuned, Tokenizer, FineTuning]:
        """Load the encoder and put a new head on it; returns the tokenizer too, and the settings as they were chosen
        for the task and the encoder."""
        keep_layers = self.settings.keep_layers
        reader, tokenizer = encoders.load_encoder(self.model, keep_layers, needs=())
        tuning = choose_tuning(self.settings.tuning, self.problem, reader.family, reader.sizes[-1])
        torch.manual_seed(self.seed)  # of the new head, which a whole model of transformers brings with it
        if tuning.head == "transformers" and reader.family == "theirs":
            reader = finetuned.load_whole_model(self.model, self.task, keep_layers)
        return FineTuned(reader, self.problem.head(reader, tuning), self.seed), tokenizer, tuning

    def build_sources(self, reader: Reader, tokenizer: Tokenizer) -> dict[str, ExampleSource]:
        """The examples of each split. Raises ``UserError`` for a length that the encoder does not read."""
        tuning, problem = self.settings.tuning, self.problem
        length = choose_length(tuning, problem, reader.longest)
        return {
            split: ExampleSource(
                problem.examples(split, tokenizer, length), problem.targets, tokenizer.filler, tuning.rows, self.seed
            )
            for split in problem.splits
        }

    def train(
        self,
        net: FineTuned,
        tuning: FineTuning,
        source: ExampleSource,
        dev: "DevEvaluation",
        parallel: Parallel,
        deadline: float,
    ) -> bool:
        """Train ``net`` in place. Whether it was trained to the end."""
        engine, epochs = self.settings.engine, choose_epochs(tuning, self.problem, len(source.examples))
        steps = max(1, round(epochs * len(source.examples) / tuning.rows))
        if self.settings.patience and not engine.evaluate_every:
            engine = replace(engine, evaluate_every=max(1, round(steps / epochs)))
        tokens = round(float(source.lengths.mean()) * tuning.rows)
        stage = Stage(net, apply_layer_decay(net, tuning), source, steps, tuning.rows, tokens, 0)
        checkpoints = self.folder / "checkpoints"
        latest = checkpoint.latest_checkpoint(checkpoints)
        label = f"{self.problem.name}, seed {self.seed}"
        shown = {"loss": "loss", **{name: name for name in self.problem.metrics[:2]}}
        step = checkpoint.step_of_checkpoint(latest) if latest else 0
        settings = leave_out(self.asked, ["model"])  # a path of this machine, which others are not shown
        others: dict[str, Recorder] = {}
        parallel.ask_first(
            lambda: others.update(start_recorders(self.settings.log, self.folder, step, label, settings))
        )
        recorder: Recorder = SilentRecorder()
        if parallel.first:
            print(f"{label}: {describe_tuning(tuning)}, {epochs:g} epochs, {steps} steps")
            length = choose_length(tuning, self.problem, net.reader.longest)
            chosen = plain_tree(replace(tuning, epochs=epochs, length=length))
            write_json(self.folder / CHOSEN, {"tuning": chosen, "steps": steps}, indent=1)
            recorder = MetricsRecorder(self.folder, shown, step, label, others=others)
        evaluate = dev.evaluate if engine.evaluate_every else None
        state = train_stages(
            StagePlan.of([stage], LinearDecay(warmup=round(tuning.warmup * steps))), tuning.optimizer,
            engine, parallel, checkpoints, recorder, evaluate, enough=dev.is_enough,
            asked={"seed": self.seed, "config": hash_values([leave_out(self.asked, (*FREE, EVALUATE_EVERY))])},
            deadline=deadline,
        )  # fmt: skip
        if state.finished and self.settings.patience:
            dev.restore_best()
        return state.finished

    def write(self, net: FineTuned, tuning: FineTuning, predictions: dict[str, list[Any]], figures: Figures) -> None:
        """Write the predictions, the model and, last, the figures; remove the checkpoints."""
        with write_whole(self.folder / PREDICTIONS) as file:
            file.write_text(json.dumps(predictions, ensure_ascii=False), encoding="utf-8")
        length = choose_length(tuning, self.problem, net.reader.longest)
        task = replace(self.task, pooling="mean" if tuning.pooling == "mean" else "cls")
        finetuned.save_finetuned(self.folder / MODEL, self.model, net.reader, net.head, task, length)
        write_json(self.folder / RESULT, figures, indent=1)
        checkpoint.remove_checkpoints(self.folder / "checkpoints")
        files.remove_files(self.folder, [BEST])


class DevEvaluation:
    """A net's predictions, and its figures on the first split with labels while it is trained."""

    def __init__(self, run: FineTuningRun, net: FineTuned, sources: dict[str, ExampleSource], parallel: Parallel):
        self.run, self.net, self.sources, self.parallel = run, net, sources, parallel
        self.split, self.metric = run.problem.evaluated[0], run.problem.metrics[0]
        self.best = run.folder / BEST

    def predict(self, split: str) -> list[Any]:
        """The prediction for each sample of a split."""
        source, engine = self.sources[split], self.run.settings.engine
        answers = self.net.answers(source, self.parallel.device, engine.precision)
        return self.run.problem.predictions(split, source.examples, answers)

    def evaluate(self, net: torch.nn.Module) -> dict[str, float]:
        """The metrics on the split; the weights of ``net`` are saved if they are the best so far."""
        figures = self.run.problem.judge(self.split, self.predict(self.split))
        is_best = self.parallel.first and figures[self.metric] > max(self.read_history(), default=float("-inf"))
        if is_best and self.run.settings.patience:
            with write_whole(self.best) as file:
                save_file({name: value.detach().cpu() for name, value in net.named_parameters()}, file)
        return figures

    def read_history(self) -> list[float]:
        """The first metric at each evaluation so far."""
        lines = read_metrics(self.run.folder / "metrics.jsonl")
        return [line[self.metric] for line in lines if self.metric in line]

    def is_enough(self) -> bool:
        """Whether none of the last ``patience`` evaluations was better than the best before them."""
        history, patience = self.read_history(), self.run.settings.patience
        return bool(patience) and len(history) - 1 - history.index(max(history)) >= patience

    @torch.no_grad()
    def restore_best(self) -> None:
        """Load the best weights into the net."""
        with convert_errors(f"{self.best}: damaged; remove the run's folder", OSError, SafetensorError):
            tensors = self.parallel.broadcast_tensors(load_file(self.best) if self.parallel.first else {})
        parameters = dict(self.net.named_parameters())
        checkpoint.require_same_tensors(self.best, tensors, parameters)
        if names := checkpoint.find_not_finite(tensors):
            raise UserError(f"{self.best}: {names[0]} is not finite")
        for name, value in parameters.items():
            value.copy_(tensors[name])
