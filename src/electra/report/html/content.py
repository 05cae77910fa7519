"""What a report shows, as plain values: runs with their curves, tables, and texts whose tokens were judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple


class CurveLine(NamedTuple):
    """A figure of a run by step, in rising order. A value that is not finite is None."""

    steps: Sequence[int]
    values: Sequence[float | None]


@dataclass(frozen=True)
class HealthRecord:
    """What went wrong or otherwise than planned. ``warnings``: (step, message) that the run recorded. ``starts``: when
    it was started, and with which changes. ``not_finite``: figure → (how often it was not finite, at which step
    first)."""

    finished: bool
    warnings: Sequence[tuple[int, str]] = ()
    starts: Sequence[str] = ()
    not_finite: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportedRun:
    """A run of pre-training or fine-tuning.

    ``kind``: which runs it is compared with; ``group``: equal for runs that differ in their seed alone. ``facts``: what
    the first table says of it. ``curves``: figure → split → line. ``axes``: tokens, flops, hours → their values at some
    steps. ``last``: figure → the last one on held-out text. ``settings`` and ``environment`` are flat.
    """

    name: str
    kind: str
    group: str
    facts: Mapping[str, object]
    curves: Mapping[str, Mapping[str, CurveLine]]
    axes: Mapping[str, CurveLine]
    last: Mapping[str, float]
    settings: Mapping[str, object]
    environment: Mapping[str, object]
    health: HealthRecord


@dataclass(frozen=True)
class TableCell:
    """A cell with more than its text: ``value`` sorts it, ``share``, 0 to 1, is drawn as a bar, ``best`` stands out."""

    text: str
    value: float | None = None
    share: float | None = None
    best: bool = False


@dataclass(frozen=True)
class ReportTable:
    """A table; the first column names its rows. Cells are texts, numbers, None, or ``TableCell``."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    about: str = ""


class JudgedToken(NamedTuple):
    """A token as the discriminator read it. ``continues``: no space before it. ``original``: what the text had, if
    another. ``replaced``: P(replaced); None where the objective does not ask."""

    text: str
    continues: bool
    original: str | None
    replaced: float | None


@dataclass(frozen=True)
class JudgedTexts:
    """Held-out texts of a run, each a list of tokens, a replaced one being told by its ``original``."""

    run: str
    texts: Sequence[Sequence[JudgedToken]]


Section = Literal["evaluations", "probes", "pairs"]


@dataclass(frozen=True)
class ReportContent:
    """All that a page shows. ``tables``: by section. ``missing``: section → lines about what is not there."""

    runs: Sequence[ReportedRun]
    tables: Mapping[Section, Sequence[ReportTable]]
    judged: Sequence[JudgedTexts]
    missing: Mapping[str, Sequence[str]]
