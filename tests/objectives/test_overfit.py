"""Every objective learns eight sentences by heart."""

import pytest
import torch

from compositions import CORPUS, ENCODERS, EVERY, batch, loss, objective
from electra.engine.optim import Muon, Optimizer, collect_parameters
from electra.objectives.build import Stages
from electra.objectives.pretrainer import Pretrainer

STEPS = 120
LONGER = {"coco-lm": 160}  # the last thing that it learns is which row an uncorrupted crop is of
# Between what random weights have (skill below −0.7, AUC of 0.4 to 0.6) and what five seeds learned (skill 0.45 to 1).
DETECTS = {"discriminator/skill": 0.3, "discriminator/auc": 0.9}
BARS = {
    "mlm": {"generator/accuracy": 0.9},
    "replace-mlm": {"encoder/accuracy": 0.85},
    "all-tokens-mlm": {"encoder/copied_originals": 0.9},
    "electra-15": {"discriminator/auc": 0.9},  # its labels change as long as the generator learns
    "coco-lm": {"discriminator/auc": 0.85},
}
LOSSES = {"all-tokens-mlm": {"encoder/loss": 0.4}, "coco-lm": {"correction/loss": 2.5, "contrast/loss": 2.5}}
SETTINGS = {"electra-15": {"generator_width": 1.0}}  # so that some samples are the original, which is the other label
# The others differ from these in what does not touch an encoder.
WITH_MODERN = {"mlm", "electra", "all-tokens-mlm", "electric", "coco-lm"}
CASES = [
    pytest.param(
        kind,
        encoder,
        id=f"{kind}-{encoder}",
        marks=[pytest.mark.slow] * (encoder == "modern" and kind not in WITH_MODERN),
    )
    for kind, encoder in EVERY
]


def train(stages: Stages, encoder: str, steps: int) -> Pretrainer:
    """The pre-trainer after the steps, of which each stage has its share."""
    before = None
    for share, stage in stages:
        torch.manual_seed(0)
        pretrainer = stage.build(ENCODERS[encoder], CORPUS, seed=1)
        if before:
            pretrainer.begin_from(before)
        optimizer = Optimizer(Muon(), collect_parameters(pretrainer, pretrainer.towers(), pretrainer.rates))
        for step in range(int(share * steps)):
            loss(pretrainer, batch(length=16), dropout=False)[0].backward()
            optimizer.clip(1.0, optimizer.measure_gradients().norms)
            optimizer.step(1 - step / (share * steps))
        before = pretrainer
    assert before is not None
    return before


@pytest.mark.parametrize(("kind", "encoder"), CASES)
def test_eight_sentences_are_learned(kind: str, encoder: str) -> None:
    stages = objective(kind, encoder, **SETTINGS.get(kind, {})).stages
    fresh, learned = (
        pretrainer.figures(loss(pretrainer, batch(length=16), dropout=False)[1])
        for pretrainer in (train(stages, encoder, steps) for steps in (0, LONGER.get(kind, STEPS)))
    )
    for name, bar in BARS.get(kind, DETECTS).items():
        assert learned[name] > bar > fresh.get(name, 0.0) + 0.1, name
    for name, bar in LOSSES.get(kind, {}).items():
        assert learned[name] < bar < fresh[name] - 0.1, name
