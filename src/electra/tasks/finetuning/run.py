"""One run of fine-tuning: a problem, an encoder, a seed → figures, predictions and the model, in its own folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from electra import files
from electra.config import plain_tree
from electra.engine import checkpoint
from electra.engine.optim import LinearDecay
from electra.engine.parallel import Parallel
from electra.engine.stages import Stage
from electra.engine.telemetry import MetricsRecorder, Recorder, SilentRecorder, describe_start, read_metrics
from electra.engine.train import Engine, check_engine, train_stages
from electra.errors import UserError, convert_errors
from electra.files import write_whole
from electra.interchange import encoders, finetuned
from electra.interchange.encoders import Reader
from electra.interchange.folders import find_encoder, fingerprint_encoder
from electra.run_folder import Request, list_differences, read_json, write_json
from electra.tasks.finetuning.examples import ExampleSource
from electra.tasks.finetuning.problem import FineTuned, FineTuning, Problem, apply_layer_decay
from electra.tokenization import Tokenizer

LENGTHS = {"question-answering": 512}  # tokens read at once, as in the paper
DEFAULT_LENGTH = 128
FINETUNING_RUN = "run of fine-tuning"  # what the folder says that it holds
ASKED, RESULT, PREDICTIONS = "config.json", "result.json", "predictions.json"
BEST, MODEL = "best.safetensors", "model"
CONTENTS = "contents"  # in config.json: hashes of what the figures come from
FREE = ("task", "model", *(f"settings.engine.{name}" for name in ("log_every", "save_every", "keep")))

Figures = dict[str, dict[str, float]]  # split → metric → value


TUNING_ENGINE = Engine(
    compile="never", evaluate_every=0, save_every=500, keep=1
)  # each length of a batch would be compiled


@dataclass(frozen=True)
class RunSettings:
    """How a run goes, whatever its task. ``patience``: evaluations without a better figure until it ends; 0: never."""

    tuning: FineTuning = field(default_factory=FineTuning)
    engine: Engine = TUNING_ENGINE
    patience: int = 0


def hash_contents(problem: Problem, model: Path) -> dict[str, str]:
    """What a run's figures come from, as hashes: the problem's splits and labels, and the ``model`` in a folder."""
    return problem.contents() | {MODEL: fingerprint_encoder(model)}


class FineTuningRun:
    """A problem, an encoder, a seed, and the folder of their fine-tuning.

    The same settings go on where the run stopped, or give what it gave.
    """

    def __init__(
        self, problem: Problem, model: Path, settings: RunSettings, seed: int, folder: Path, contents: Mapping[str, str]
    ):
        """``contents``: of the problem and the model, see ``hash_contents``; they are the same for many runs."""
        self.problem, self.settings, self.seed, self.folder = problem, settings, seed, folder
        self.model = find_encoder(model)
        self.task = finetuned.HeadSpec(problem.model, problem.labels, problem.problem_type)
        asked = {"task": problem.name, "model": str(self.model), "seed": seed, "settings": settings}
        self.asked = plain_tree(asked | {CONTENTS: contents})
        self.request = Request(FINETUNING_RUN, {ASKED: self.asked})

    def figures(self, parallel: Parallel) -> Figures | None:
        """Its figures; None if a signal stopped it.

        Raises:
            UserError: as ``check``; a length that the encoder does not read; and as ``encoders.load_encoder`` and
            ``train``.
        """
        self.check()
        if found := parallel.ask_first(lambda: self.read(RESULT)):
            return found
        net, tokenizer = self.fresh()
        check_engine(self.settings.engine, net, parallel)
        sources = self.sources(net.reader, tokenizer)
        with convert_errors(str(self.folder), OSError):
            self.begin(parallel)
            dev = DevEvaluation(self, net, sources, parallel)
            if not self.tuned(net, sources["train"], dev, parallel):
                return None
            predictions = {split: dev.predictions(split) for split in self.problem.splits if split != "train"}
            figures = {split: self.problem.judge(split, predictions[split]) for split in self.problem.evaluated}
            if parallel.first:
                self.write(net, predictions, figures)
            parallel.wait()
        return figures

    def read(self, name: str) -> dict[str, Any]:
        """What a JSON file of the folder holds; nothing if it is not there."""
        path = self.folder / name
        return read_json(path, "remove the folder to run it again") if path.is_file() else {}

    def check(self) -> None:
        """Find the folder without a run, or with this one; nothing is written.

        Raises:
            UserError: it holds one of other settings, of a split or a model with other contents, whatever they are
                called, or one that does not say what it was made from.
        """
        begun = self.read(ASKED)
        if not begun and not (self.folder / RESULT).is_file():
            return
        if CONTENTS not in begun:
            raise UserError(
                f"{self.folder}: holds a run of an earlier version, which does not say what data and model it was made "
                "from; choose another --out"
            )
        contents = [d.key for d in list_differences(begun[CONTENTS], self.asked[CONTENTS])]
        changed = list_differences(begun, self.asked, (*FREE, CONTENTS))
        settings = list(dict.fromkeys(d.key.partition(".")[0] for d in changed))
        data = [name for name in contents if name != MODEL]
        others = [f"of other settings ({', '.join(settings)})"] if settings else []
        others += [f"of other data ({', '.join(data)})"] if data else []
        others += [f"of another model than {self.model} holds now"] if MODEL in contents else []
        if others:
            raise UserError(f"{self.folder}: holds a run {' and '.join(others)}; choose another --out, or remove it")

    def begin(self, parallel: Parallel) -> None:
        """Write what was asked, or that it is started again."""
        if parallel.first:
            self.request.begin(self.folder, describe_start())
        parallel.wait()

    def fresh(self) -> tuple[FineTuned, Tokenizer]:
        """The encoder with a new head, and its tokenizer."""
        reader, tokenizer = encoders.load_encoder(self.model)
        if self.settings.tuning.head == "transformers" and reader.family == "theirs":
            reader = finetuned.load_whole_model(self.model, self.task)
        torch.manual_seed(self.seed)
        return FineTuned(reader, self.problem.head(reader, self.settings.tuning), self.seed), tokenizer

    def sources(self, reader: Reader, tokenizer: Tokenizer) -> dict[str, ExampleSource]:
        """The examples of each split. Raises ``UserError`` for a length that is too much."""
        tuning, problem = self.settings.tuning, self.problem
        length = tuning.length or min(LENGTHS.get(problem.model, DEFAULT_LENGTH), reader.longest)
        if length > reader.longest:
            raise UserError(f"--tuning.length {length}: {self.model} reads {reader.longest} tokens at most")
        pad = tokenizer.ids["pad"]
        return {
            split: ExampleSource(
                problem.examples(split, tokenizer, length), problem.targets, pad, tuning.rows, self.seed
            )
            for split in problem.splits
        }

    def tuned(self, net: FineTuned, source: ExampleSource, dev: "DevEvaluation", parallel: Parallel) -> bool:
        """Train ``net`` in place; whether it was to the end."""
        tuning, engine = self.settings.tuning, self.settings.engine
        epochs = tuning.epochs or self.problem.epochs
        steps = max(1, round(epochs * len(source.examples) / tuning.rows))
        if self.settings.patience and not engine.evaluate_every:
            engine = replace(engine, evaluate_every=max(1, round(steps / epochs)))
        tokens = round(float(source.lengths.mean()) * tuning.rows)
        stage = Stage(net, apply_layer_decay(net, tuning), source, steps, tuning.rows, tokens, 0)
        saved = self.folder / "checkpoints"
        begun = checkpoint.latest_checkpoint(saved)
        label = f"{self.problem.name}, seed {self.seed}"
        shown = {"loss": "loss", **{name: name for name in self.problem.metrics[:2]}}
        recorder: Recorder = SilentRecorder()
        if parallel.first:
            recorder = MetricsRecorder(self.folder, shown, checkpoint.step_of_checkpoint(begun) if begun else 0, label)
        state = train_stages(
            [stage], tuning.optimizer, LinearDecay(warmup=round(tuning.warmup * steps)),
            engine, parallel, saved, recorder, dev.figures if engine.evaluate_every else None, enough=dev.enough,
        )  # fmt: skip
        if state.finished and self.settings.patience:
            dev.restore()
        return state.finished

    def write(self, net: FineTuned, predictions: dict[str, list[Any]], figures: Figures) -> None:
        """The predictions, the model and, last, the figures; checkpoints are not needed any more."""
        with write_whole(self.folder / PREDICTIONS) as file:
            file.write_text(json.dumps(predictions, ensure_ascii=False), encoding="utf-8")
        finetuned.save_finetuned(self.folder / MODEL, self.model, net.reader, net.head, self.task)
        write_json(self.folder / RESULT, figures, indent=1)
        checkpoint.remove_checkpoints(self.folder / "checkpoints")
        files.remove_files(self.folder, [BEST])


class DevEvaluation:
    """A net's predictions, and whether it still gets better on the first split with labels."""

    def __init__(self, run: FineTuningRun, net: FineTuned, sources: dict[str, ExampleSource], parallel: Parallel):
        self.run, self.net, self.sources, self.parallel = run, net, sources, parallel
        self.split, self.metric = run.problem.evaluated[0], run.problem.metrics[0]
        self.best = run.folder / BEST

    def predictions(self, split: str) -> list[Any]:
        """For each sample of a split."""
        source, engine = self.sources[split], self.run.settings.engine
        answers = self.net.answers(source, self.parallel.device, engine.precision)
        return self.run.problem.predictions(split, source.examples, answers)

    def figures(self, net: torch.nn.Module) -> dict[str, float]:
        """The metrics on the dev split; the weights of ``net`` are kept if they are the best so far."""
        found = self.run.problem.judge(self.split, self.predictions(self.split))
        better = self.parallel.first and found[self.metric] > max(self.history(), default=float("-inf"))
        if better and self.run.settings.patience:
            with write_whole(self.best) as file:
                save_file({name: value.detach().cpu() for name, value in net.named_parameters()}, file)
        return found

    def history(self) -> list[float]:
        """The first metric at each evaluation before."""
        lines = read_metrics(self.run.folder / "metrics.jsonl")
        return [line[self.metric] for line in lines if line["split"] != "train"]

    def enough(self) -> bool:
        """Whether the last ``patience`` evaluations were none better than one before."""
        history, patience = self.history(), self.run.settings.patience
        return bool(patience) and len(history) - 1 - history.index(max(history)) >= patience

    @torch.no_grad()
    def restore(self) -> None:
        """Give the net its best weights."""
        tensors = self.parallel.broadcast_tensors(load_file(self.best) if self.parallel.first else {})
        for name, value in self.net.named_parameters():
            value.copy_(tensors[name])
