"""``electra demo``: the whole chain on the built-in corpus, from docstrings to an encoder that others load."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from electra import files, recipes
from electra.config import check_ranges
from electra.engine.telemetry import read_metrics
from electra.errors import convert_errors
from electra.objectives.build import Mlm
from electra.ranges import Count, Positive
from electra.run_folder import write_json
from electra.stopping import Ending
from electra.workflows.demo.corpus import prepare_corpus
from electra.workflows.demo.hub import compare_with_transformers, export_towers
from electra.workflows.demo.scores import ENCODER, format_demo_scores, score_encoders
from electra.workflows.demo.summary import format_demo_summary
from electra.workflows.evaluate import EvaluateConfig, evaluate
from electra.workflows.inspect import InspectConfig, inspect
from electra.workflows.pretrain import run_pretraining
from electra.workflows.pretraining.config import PretrainConfig

SENTENCES = (
    "Returns the number of samples to draw from the array.",
    "Returns the number of the to draw samples the array.",
    "If the file does not exist, an error is raised.",
    "If the file does not weight, an error is an.",
)


@dataclass(frozen=True)
class DemoConfig:
    """Docstrings of the installed packages → vocabulary → data → pre-training → evaluation → checkpoint, in minutes.

    The same command again goes on where it stopped.
    """

    out: str = "runs/demo"
    """Folder for all of it."""
    minutes: Positive = 8.5
    """Minutes of pre-training; the rest takes five to seven more."""
    compare: Literal["nothing", "mlm"] = "nothing"
    """mlm: also pre-train the same encoder by masked language modelling with equal floating-point operations."""
    vocab_size: Count = 8192
    """Word pieces."""
    seeds: Count = 5
    """Fine-tunings of each kind, each with training texts of its own."""


def demo(config: DemoConfig) -> Path:
    """Go through the chain and return the folder with everything; what an earlier call made there is not made again.

    Raises:
        UserError: the folder holds something else, or another demo's corpus; and as the verbs that are called.
        Stopped: a signal came while an encoder was fine-tuned.
    """
    return run_demo(config).result


def run_demo(config: DemoConfig) -> Ending[Path]:
    """``demo``, which also says whether it came to its end."""
    check_ranges(config)
    began, out = time.monotonic(), Path(config.out)
    with convert_errors(str(out), OSError):
        files.claim_folder(out, "demo")
        files.remove_partial_files(out)
    print_heading("the corpus: docstrings of the installed packages")
    task = prepare_corpus(out, config.vocab_size)
    print_heading(f"pre-training for {config.minutes:g} minutes")
    trained = run_pretraining(replace(configure_run(out, out / "electra"), hours=config.minutes / 60))
    if not trained.finished:
        return Ending(out, finished=False)
    run = trained.result
    encoders = {ENCODER: run / "final" / "encoder"}
    if config.compare == "mlm":
        print_heading("the same encoder by masked language modelling, with equal operations")
        mlm = pretrain_mlm(out, run)
        if not mlm.finished:
            return Ending(out, finished=False)
        encoders["MLM"] = mlm.result / "final" / "generator"
    print_heading("held-out text")
    figures = evaluate(EvaluateConfig(models=(str(run),)))[str(run)]
    print_heading(f"fine-tuning: which of {len(task.names)} packages is a docstring from?")
    scores = score_encoders(task, encoders, config.seeds)
    print(format_demo_scores(scores))
    print_heading("folders for Hugging Face, loaded in another process")
    export_towers(run, out / "hub")
    compare_with_transformers(out / "hub", SENTENCES[1])
    print_heading("which tokens look replaced")
    inspect(InspectConfig(run=str(run), texts=SENTENCES))
    print_heading(f"done in {(time.monotonic() - began) / 60:.1f} minutes")
    write_json(out / "summary.json", {"held_out": figures, **scores._asdict()}, indent=1)
    print(format_demo_summary(out, run, figures, scores))
    return Ending(out, finished=True)


def print_heading(text: str) -> None:
    """A line above what the next step of the chain prints."""
    print(f"\n== {text}", flush=True)


def configure_run(out: Path, run: Path) -> PretrainConfig:
    """Preset modern-tiny on the demo's data, to be written to ``run``."""
    preset = recipes.apply_preset(PretrainConfig(), "modern-tiny")
    engine = replace(preset.engine, evaluate_every=250, save_every=250)
    return replace(preset, data=str(out / "data"), out=str(run), engine=engine)


def pretrain_mlm(out: Path, run: Path) -> Ending[Path]:
    """Pre-train the same encoder by MLM with as many floating-point operations as ``run`` took, as
    ``run_pretraining``."""
    flops = read_metrics(run / "metrics.jsonl")[-1]["flops"]
    objective = Mlm(mask_rate=0.3, replace_rate=1.0)
    return run_pretraining(replace(configure_run(out, out / "mlm"), objective=objective, flops=flops))
