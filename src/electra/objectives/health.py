"""What can go wrong with a run without an error, judged by the figures that it logs.

A verdict needs several logged lines in a row that all agree, and none of them from where the learning rate still rises.
Early in a healthy run a discriminator's skill is small: it falls to 0.015 and stays below 0.04 for 600 steps while the
generator learns how frequent words are (results/modern-tiny-text); its AUC is 0.55 even then.
"""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

LogLine = Mapping[str, float]

MIN_LINES, SPAN = 3, 200  # a judgement of skill needs so many lines, and those of so many steps
BEGINNING = 100  # steps in which skill is not judged
CHANCE_AUC, NO_SKILL = 0.53, 0.01  # a constant has 0.5 and 0; the smallest of healthy runs are 0.55 and 0.015
EASY_SKILL = 0.05
STRONG = 0.3  # share of the chosen tokens right while there is no skill; healthy runs have a skill of 0.09 at 0.2
FILLED = 0.6  # share of the samples that are the original; ELECTRA-Small's own generator ends near 0.4


class Verdict(NamedTuple):
    """A fault. ``kind`` names it; ``message`` says what the figures show and what to try."""

    kind: str
    message: str


def judge_lines(lines: Sequence[Mapping]) -> list[Verdict]:
    """The faults that a run's last lines of metrics.jsonl show; usually none."""
    logged = [line for line in lines if line["split"] == "train"]
    stage = [line for line in logged if line["phase"] == logged[-1]["phase"]]
    verdicts = judge_reach(stage[-MIN_LINES:]) if len(stage) >= MIN_LINES else []
    count = max(MIN_LINES, sum(line["step"] > stage[-1]["step"] - SPAN for line in stage))
    before, window = stage[:-count], stage[-count:]
    if not before or before[-1]["step"] < BEGINNING or is_rate_rising([before[-1], *window]):
        return verdicts
    return verdicts + (judge_generator(window) or judge_discriminator(window))


def judge_reach(window: Sequence[LogLine]) -> list[Verdict]:
    """Towers with tensors that got no gradient in all of the lines."""
    names = [name for name in window[-1] if name.startswith("unreached/")]
    return [
        Verdict(
            name,
            f"no loss reaches {window[-1][name]:.0f} tensors of the {name.removeprefix('unreached/')}: they stay as "
            "they are. Look for a weight of 0, a detach() too many, or a part that no term reads",
        )
        for name in names
        if all(name in line for line in window)
    ]


def is_rate_rising(lines: Sequence[LogLine]) -> bool:
    """Whether the learning rates rise anywhere in the lines."""
    rates = [[value for name, value in line.items() if name.startswith("learning_rate/")] for line in lines]
    return any(sum(earlier) < sum(later) for earlier, later in itertools.pairwise(rates))


def judge_generator(window: Sequence[LogLine]) -> list[Verdict]:
    """Whether the generator is so strong that it leaves the discriminator little to detect."""
    needed = ("discriminator/loss", "generator/accuracy", "generator/sampled_accuracy")
    if any(name not in line for line in window for name in needed):
        return []
    right, filled = ([line[name] for line in window] for name in needed[1:])
    skill = [line.get("discriminator/skill", 0.0) for line in window]  # where nothing was replaced there is none
    if not (min(filled) > FILLED or (max(skill) < EASY_SKILL and min(right) > STRONG)):
        return []
    symptom = (
        f"the generator is too strong: {statistics.mean(filled):.0%} of its samples are the original token, "
        f"{statistics.mean(right):.0%} of the chosen tokens are its first guess, and the discriminator's skill is "
        f"{statistics.mean(skill):.3f}"
    )
    tries = "a smaller objective.generator_width or generator_depth, generator_rate below 1, or a temperature above 1"
    return [Verdict("generator too strong", f"{symptom}. Try {tries}")]


def judge_discriminator(window: Sequence[LogLine]) -> list[Verdict]:
    """Whether the discriminator has collapsed: it says the same of every token."""
    needed = ("discriminator/skill", "discriminator/auc")
    if any(name not in line for line in window for name in needed):  # where nothing was replaced they are not known
        return []
    skill, auc = ([line[name] for line in window] for name in needed)
    if not all(s <= NO_SKILL and a <= CHANCE_AUC for s, a in zip(skill, auc, strict=True)):
        return []
    symptom = (
        f"the discriminator has collapsed: since step {window[0]['step']:,} its skill was {max(skill):.3f} and its AUC "
        f"{max(auc):.3f} at best, and a constant has 0 and 0.5"
    )
    tries = "a smaller optimizer.learning_rate, a longer schedule.warmup, or an engine.clip of 1"
    return [Verdict("discriminator collapsed", f"{symptom}. Try {tries}; the run does not recover by itself")]
