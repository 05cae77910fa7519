"""A run that continues a trained encoder: whether it has become worse than it was at step 0."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from electra.engine.telemetry import Watch, read_metrics
from electra.objectives.health import Verdict, is_rate_rising, judge_lines

RISE = 1.01  # a held-out loss is above another if it is so many times as large: less is no loss of knowledge
TRIES = (
    "a tenth of optimizer.learning_rate, a longer schedule.warmup, or text like that of before among yours; a run of "
    "few tokens may come down again while the rate falls"
)


def watch_continued(metrics: Path) -> Watch:
    """What says what is wrong with a run that continues trained weights: all that is wrong with any run, and a held-out
    loss above that of step 0, which ``metrics`` has where the run goes on from a checkpoint."""
    beginning: dict[str, Any] = dict(find_beginning(read_metrics(metrics)))

    def watch(lines: Sequence[Mapping[str, Any]]) -> Sequence[tuple[str, str]]:
        if not beginning:
            beginning.update(find_beginning(lines))
        return [*judge_lines(lines), *judge_rise(lines, beginning)]

    return watch


def find_beginning(lines: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The line with the held-out figures of step 0; empty if there is none."""
    return next((line for line in lines if line["split"] == "held-out" and line["step"] == 0), {})


def judge_rise(lines: Sequence[Mapping[str, Any]], beginning: Mapping[str, Any]) -> list[Verdict]:
    """Whether the last line has a held-out loss that is above that of the ``beginning``, after the warm-up.

    A discriminator's may rise where the generator's falls: its samples are harder to tell then. Another stage, which
    has other losses, is not compared.
    """
    last, logged = lines[-1], [line for line in lines if line["split"] == "train"][-2:]
    losses = [name for name in last if name.endswith("/loss")]
    same = losses == [name for name in beginning if name.endswith("/loss")]
    if last["split"] != "held-out" or not last["step"] or not same or len(logged) < 2 or is_rate_rising(logged):
        return []
    harder = last.get("generator/loss", 0.0) < beginning.get("generator/loss", 0.0)
    risen = [name for name in losses if last[name] > RISE * beginning[name]]
    return [
        Verdict(
            f"{name} above its beginning",
            f"{name} on held-out text is {last[name]:.3f} at step {last['step']:,}, after the warm-up, and was "
            f"{beginning[name]:.3f} at step 0: the run unlearns what its weights knew. Try {TRIES}",
        )
        for name in risen
        if not (name == "discriminator/loss" and harder)
    ]
