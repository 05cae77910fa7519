"""What a run says of itself while it trains: figures on held-out text, and a probe's."""

from pathlib import Path
from typing import Any

from electra.dataset.data import Data
from electra.dataset.rows import Rows
from electra.engine.parallel import Parallel
from electra.engine.train import Evaluate
from electra.interchange.encoders import TowerReader
from electra.progress import print_warnings
from electra.tasks.datasets import labelled
from electra.tasks.finetuning.sequences import Sequences
from electra.tasks.frozen.held_out import evaluate_held_out
from electra.tasks.frozen.probes import Probe
from electra.workflows.pretraining.config import PretrainConfig

PROBED, PROBE_LENGTH = 1000, 128  # texts that a probe is fitted to and judged by, and tokens of each: seconds
HELD_OUT_TOKENS = 4096  # tokens that an evaluation reads at once


def load_probe(config: PretrainConfig, data: Data) -> Probe:
    """Read the labelled file for a probe. Raises ``UserError`` as ``labelled.load_labelled`` and ``Probe``."""
    task = labelled.load_labelled(Path(config.probe).stem, {"train": Path(config.probe)}, config.probe_columns)
    print_warnings(labelled.note_samples(task))
    print(*Sequences(task).account("train", preview=False), sep="\n")
    return Probe(task, data.tokenizer, min(PROBE_LENGTH, config.encoder.max_positions), PROBED)


def build_evaluation(config: PretrainConfig, data: Data, probe: Probe | None, parallel: Parallel) -> Evaluate:
    """The function that gives a pre-trainer's figures on held-out text, and the probe's if there is one."""
    length = config.phases[-1].length
    rows = Rows(data.held_out, config.layout, length, config.seed)
    batch_rows = max(1, HELD_OUT_TOKENS // length)

    # Any: a Pretrainer, which the engine knows as a module.
    def evaluate_pretrainer(pretrainer: Any) -> dict[str, float]:
        figures = evaluate_held_out(
            pretrainer, rows, config.held_out_rows, batch_rows, parallel, config.engine.precision
        )
        return figures | (probe.figures(TowerReader(pretrainer.encoder), parallel.device) if probe else {})

    return evaluate_pretrainer
