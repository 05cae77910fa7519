"""How a task of one's own is tuned where nothing was said. The paper's protocol is for the tasks that the paper has."""

from dataclasses import replace

from electra.errors import UserError
from electra.interchange.encoders import Family
from electra.tasks.finetuning.problem import FineTuning, Problem

FEWEST_STEPS, MOST_EPOCHS = 100, 20  # of a task of one's own: 300 examples are read ten times, not three


def choose_tuning(tuning: FineTuning, problem: Problem, family: Family) -> FineTuning:
    """The settings with a choice for each that says "auto"; of a task that the paper has they stay, and mean the
    paper's. ``family``: of the encoder.

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
    if problem.published:
        return tuning
    if head == "auto":
        head = "transformers" if fits else "paper"
    if pooling == "auto" and head == "transformers" and takes_mean:
        pooling = "mean"
    return replace(tuning, head=head, pooling=pooling)


def choose_epochs(tuning: FineTuning, problem: Problem, examples: int) -> float:
    """Passes over so many training examples: as asked, or the problem's; more where a task of one's own has so few
    examples that they would be hardly any steps."""
    if tuning.epochs or problem.published:
        return tuning.epochs or problem.epochs
    return min(MOST_EPOCHS, max(problem.epochs, FEWEST_STEPS * tuning.rows / examples))


def describe_head(tuning: FineTuning) -> str:
    """What a person is told of the head that was chosen."""
    source = "transformers' head" if tuning.head == "transformers" else "the paper's head"
    return f"{source}, on the mean of all states" if tuning.pooling == "mean" else source
