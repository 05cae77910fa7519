"""What ``bench`` and ``plan`` measure: the loop of ``electra pretrain`` on a preset, without a run folder."""

from dataclasses import replace
from pathlib import Path

import torch

from electra.dataset.data import Data
from electra.dataset.rows import Rows
from electra.engine.optim import collect_parameters
from electra.engine.parallel import Parallel
from electra.engine.scaling import StagePlan
from electra.engine.stages import RowSource, Stage
from electra.engine.telemetry import SilentRecorder
from electra.engine.train import Loop
from electra.objectives.build import CorpusFacts
from electra.workflows.bench.steps import MASK, RandomRows
from electra.workflows.pretraining.config import PretrainConfig
from electra.workflows.pretraining.pretrainers import describe_corpus

WARM_UP_STEPS = 2  # steps that are not measured, before those that are
STEPS = 1_000_000  # of the stage, more than anybody measures


def read_data_of(recipe: PretrainConfig, folder: str) -> PretrainConfig:
    """The recipe with prepared data, if there is a folder of it: then the encoder has its vocabulary. Raises
    ``UserError`` as ``Data.open``."""
    if not folder:
        return recipe
    vocabulary = Data.open(Path(folder)).vocab_size
    return replace(recipe, data=folder, encoder=replace(recipe.encoder, vocab_size=vocabulary))


def build_bench_loop(recipe: PretrainConfig, rows: int, length: int, parallel: Parallel | None = None) -> Loop:
    """A loop whose step reads ``rows`` rows of ``length`` tokens in one micro-batch: of the recipe's prepared data, or
    random ones if it has none."""
    parallel = parallel or Parallel.alone()
    source: RowSource = RandomRows(recipe.encoder.vocab_size, length)
    corpus = CorpusFacts(MASK)
    if recipe.data:
        data = Data.open(Path(recipe.data))
        source, corpus = Rows(data.train, recipe.layout, length, recipe.seed), describe_corpus(data)
    torch.manual_seed(recipe.seed)
    pretrainer = recipe.objective.build(recipe.encoder, corpus, recipe.seed)
    parameters = collect_parameters(pretrainer, pretrainer.towers())
    stage = Stage(pretrainer, parameters, source, STEPS, rows, rows * length, rows * pretrainer.flops(length))
    engine = replace(recipe.engine, micro_rows=0)
    return Loop(StagePlan.of([stage], recipe.schedule), recipe.optimizer, engine, parallel, None, SilentRecorder())
