"""The settings of ``electra pretrain``."""

from dataclasses import dataclass, field
from typing import Literal

from electra.dataset.layout import Layout, Paper, RowLength
from electra.engine.optim import AdamW, LinearDecay, OptimizerConfig, Schedule
from electra.engine.recorders import LogTarget
from electra.engine.train import Engine
from electra.errors import UserError
from electra.model.config import ClassicConfig, EncoderConfig
from electra.objectives.build import Electra, Objective
from electra.ranges import Count, Fraction, NotNegative, Seed
from electra.tasks.datasets.labelled import Columns

PATHS = ("data", "out", "init", "from_", "probe")  # settings that name a file or folder


@dataclass(frozen=True)
class Phase:
    """A stretch of steps with rows of one length."""

    steps: Count = 1_000_000
    length: RowLength = 128
    """Tokens a row, special tokens included."""
    rows: Count = 128
    """Rows a step, over all processes and micro-batches."""
    goes_on: bool = False
    """Optimizer and schedule go on from the phase before, instead of starting anew; the data too, if the rows are as
    long. Otherwise a phase begins at the data's beginning."""


@dataclass(frozen=True)
class PretrainConfig:
    """Pre-train an encoder on prepared data. The same command again goes on exactly where it stopped."""

    data: str = ""
    """Folder that `electra prepare` wrote."""
    out: str = ""
    """Run folder: config, metrics.jsonl, checkpoints, curves and final/."""
    encoder: EncoderConfig = field(default_factory=ClassicConfig)
    objective: Objective = field(default_factory=Electra)
    layout: Layout = field(default_factory=Paper)
    optimizer: OptimizerConfig = field(default_factory=AdamW)
    schedule: Schedule = field(default_factory=LinearDecay)
    phases: tuple[Phase, ...] = (Phase(),)
    engine: Engine = field(default_factory=Engine)
    compat: Literal["none", "google"] = "none"
    """google: the original code's arithmetic. Positions are drawn with replacement, and where one is drawn twice the
    mean of two ids comes to stand; Adam without bias correction; decay times warm-up."""
    seed: Seed = 1
    tokens: NotNegative = 0.0
    """Train on about so many tokens (padding included) instead of the phases' steps: steps and warm-up are rescaled."""
    flops: NotNegative = 0.0
    """Train for about so many floating-point operations (`electra.flops`) instead, rescaled in the same way."""
    hours: NotNegative = 0.0
    """Train for about so many hours on this machine: steps and warm-up are rescaled by a measurement at the start. The
    run then ends for good; --stop-after only interrupts it."""
    stop_after: str = ""
    """Stop so long after this start (2.8h, 90m, 3600s, counted from when the settings are read): save a checkpoint and
    end with code 75. The run stays what it is, and the same command goes on. At that time the step under way and one
    more are finished, and an evaluation that is due; the checkpoint comes after that. Leave a few minutes for it."""
    extend: bool = False
    """Lengthen the run in --out to --tokens or --flops. It goes on with the schedule of a run of that length."""
    from_: str = ""
    """Branch off this checkpoint (runs/s1/checkpoints/step-00080000) with --cool-down: --out begins with its weights,
    optimizer and place in the data. Its run stays as it is, and its settings need not be given again."""
    cool_down: Fraction = 0.0
    """With --from: let the learning rate fall linearly to 0 over so many more steps, and end. A share of the steps that
    the checkpoint has: 0.1 at step 80,000 are 8,000 more."""
    init: str = ""
    """Begin with the weights in this folder, whose encoder is then the run's: a run, an exported folder, or Hugging
    Face's ELECTRA, ModernBERT, BERT or RoBERTa."""
    init_generator: Literal["fresh", "lowest"] = "fresh"
    """What a generator begins with that is not in --init: fresh weights, or the encoder's lowest layers."""
    init_embeddings: Literal["fresh", "counted"] = "fresh"
    """What token embeddings begin with where there is no --init: random numbers, or what some seconds of counting say
    of which tokens stand near each other in the data. Then output biases begin as how frequent tokens are."""
    held_out_rows: Count = 512
    """Rows of the held-out split that an evaluation reads."""
    probe: str = ""
    """A labelled .csv, .tsv, .jsonl or .parquet: at each evaluation a linear probe says how well the encoder, frozen,
    tells its labels, in metrics.jsonl and the curves."""
    probe_columns: Columns = field(default_factory=Columns)
    """Where its texts and labels stand."""
    log: tuple[LogTarget, ...] = ()
    """Where all figures go besides metrics.jsonl: tensorboard (into the run's folder), wandb (Weights & Biases)."""


def refuse_unfit_rows(config: PretrainConfig) -> None:
    """Raise ``UserError`` for rows that are longer than the encoder's positions, or have a segment that it lacks."""
    encoder, length = config.encoder, max(phase.length for phase in config.phases)
    if length > encoder.max_positions:
        raise UserError(f"phases: rows of {length} tokens, but encoder.max_positions is {encoder.max_positions}")
    pairs = isinstance(config.layout, Paper) and config.layout.single_segment < 1
    if pairs and isinstance(encoder, ClassicConfig) and encoder.segments < 2:
        raise UserError(
            "layout: the paper's rows have two segments, and this encoder knows one: layout.kind packed, or "
            "layout.single_segment 1"
        )
