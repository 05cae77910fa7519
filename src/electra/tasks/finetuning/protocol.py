"""How a task of one's own is tuned where nothing was said. The paper's protocol is for the tasks that the paper has."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from electra.errors import UserError
from electra.interchange.encoders import Family
from electra.tasks.finetuning.problem import FineTuning, Problem

LENGTHS = {"question-answering": 512}  # tokens read at once, as in the paper
DEFAULT_LENGTH = 128  # of other problems
FEWEST_STEPS, MOST_EPOCHS = 100, 20  # of a task of one's own: 300 examples are read ten times, not three
# Width of an encoder → Adam's learning rate: the paper's for Small, Base and Large (table 7); and for one's own task,
# which often has few labels, what was best at the small widths (results/recipes).
PAPER_RATES = {256: 3e-4, 768: 1e-4, 1024: 5e-5}
OWN_RATES = {256: 1e-3, 768: 1e-4, 1024: 5e-5}


def choose_tuning(tuning: FineTuning, problem: Problem, family: Family, width: int) -> FineTuning:
    """The settings with a choice for each that says "auto", and for a learning rate of 0; of a task that the paper has
    head and pooling stay, and mean the paper's. ``family``, ``width``: of the encoder.

    On one's own task the head is the one that transformers' classes have, so that its pipelines load the result, and a
    modern encoder's reads the mean of the states: no objective teaches [CLS] anything (results/recipes).

    Raises:
        UserError: settings that transformers' head for the encoder does not have.
    """
    takes_mean = family == "modern" and problem.model == "sequence-classification"
    head, pooling = tuning.head, tuning.pooling
    fits = tuning.layers == "last" and (takes_mean or pooling != "mean")
    if head == "transformers" and not fits:
        wanted = "--tuning.layers all" if tuning.layers == "all" else "--tuning.pooling mean"
        raise UserError(f"{wanted}: transformers' head for such an encoder cannot; with it goes --tuning.head paper")
    if not tuning.optimizer.learning_rate:
        rate = interpolate_rate(PAPER_RATES if problem.published else OWN_RATES, width)
        tuning = replace(tuning, optimizer=replace(tuning.optimizer, learning_rate=rate))
    if problem.published:
        return tuning
    if head == "auto":
        head = "transformers" if fits else "paper"
    if pooling == "auto" and head == "transformers" and takes_mean:
        pooling = "mean"
    return replace(tuning, head=head, pooling=pooling)


def refuse_unfit_tuning(tuning: FineTuning, problem: Problem, family: Family, width: int, longest: int) -> None:
    """Raise ``UserError`` for settings that an encoder of this ``family`` and ``width``, which reads ``longest`` tokens
    at most, does not allow for the problem."""
    choose_tuning(tuning, problem, family, width)
    choose_length(tuning, problem, longest)


def interpolate_rate(rates: Mapping[int, float], width: int) -> float:
    """The learning rate for a width, by a line between those that are known, both axes logarithmic; beyond the ends it
    is the last one's. Two digits."""
    widths, values = np.log(list(rates)), np.log(list(rates.values()))
    return float(f"{np.exp(np.interp(np.log(width), widths, values)):.1e}")


def choose_epochs(tuning: FineTuning, problem: Problem, examples: int) -> float:
    """Passes over so many training examples: as asked, or the problem's; more where a task of one's own has so few
    examples that they would be hardly any steps."""
    if tuning.epochs or problem.published:
        return tuning.epochs or problem.epochs
    return min(MOST_EPOCHS, max(problem.epochs, FEWEST_STEPS * tuning.rows / examples))


def choose_length(tuning: FineTuning, problem: Problem, longest: int) -> int:
    """The tokens that are read at once; of an encoder that reads ``longest`` at most no more. Raises ``UserError`` if
    more are asked."""
    if tuning.length > longest:
        raise UserError(f"--tuning.length {tuning.length}: the encoder reads {longest} tokens at most")
    return tuning.length or min(LENGTHS.get(problem.model, DEFAULT_LENGTH), longest)


def describe_tuning(tuning: FineTuning) -> str:
    """What a person is told of the head and the learning rate that were chosen."""
    source = "transformers' head" if tuning.head == "transformers" else "the paper's head"
    head = f"{source}, on the mean of all states" if tuning.pooling == "mean" else source
    return f"{head}, learning rate {tuning.optimizer.learning_rate:g}"
