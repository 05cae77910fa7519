"""What a run says of itself while it trains: figures on held-out text, and a probe's."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from electra.dataset.data import Data
from electra.dataset.rows import Rows
from electra.engine.best import refuse_missing_figure
from electra.engine.parallel import Parallel
from electra.engine.train import Evaluate
from electra.interchange.encoders import TowerReader
from electra.objectives.pretrainer import Pretrainer
from electra.progress import print_warnings
from electra.tasks.datasets import labelled
from electra.tasks.finetuning.sequences import Sequences
from electra.tasks.frozen.held_out import ROWS_SEED, evaluate_held_out
from electra.tasks.frozen.probes import Probe
from electra.workflows.pretraining.config import PretrainConfig

PROBED, PROBE_LENGTH = 1000, 128  # texts that a probe is fitted to and judged by, and tokens of each: seconds
PROBE_FIGURES = {"probe/best", "probe/last"}
HELD_OUT_TOKENS = 4096  # tokens that an evaluation reads at once
FEW_ROWS = 8  # rows whose figures have the names of all


def load_probe(config: PretrainConfig, data: Data) -> Probe:
    """Read the labelled file for a probe. Raises ``UserError`` as ``labelled.load_labelled`` and ``Probe``."""
    task = labelled.load_labelled(Path(config.probe).stem, {"train": Path(config.probe)}, config.probe_columns)
    print_warnings(labelled.note_samples(task))
    print(*Sequences(task).account("train", preview=False), sep="\n")
    return Probe(task, data.tokenizer, min(PROBE_LENGTH, config.encoder.max_positions), PROBED)


def build_evaluation(config: PretrainConfig, data: Data, probe: Probe | None, parallel: Parallel) -> Evaluate:
    """The function that gives a pre-trainer's figures on held-out text, and the probe's if there is one."""
    length = config.phases[-1].length
    rows = Rows(data.held_out, config.layout, length, ROWS_SEED)
    batch_rows = max(1, HELD_OUT_TOKENS // length)

    # Any: a Pretrainer, which the engine knows as a module.
    def evaluate_pretrainer(pretrainer: Any) -> dict[str, float]:
        figures = evaluate_held_out(
            pretrainer, rows, config.held_out_rows, batch_rows, parallel, config.engine.precision
        )
        return figures | (probe.figures(TowerReader(pretrainer.encoder), parallel.device) if probe else {})

    return evaluate_pretrainer


def refuse_unknown_figure(config: PretrainConfig, pretrainer: Pretrainer, data: Data, parallel: Parallel) -> None:
    """Raise ``UserError`` if the best checkpoint goes by a figure that evaluations of the last stage do not give."""
    figures = build_evaluation(replace(config, held_out_rows=FEW_ROWS), data, None, parallel)(pretrainer)
    refuse_missing_figure(config.engine.keep_best, {*figures, *(PROBE_FIGURES if config.probe else ())})
