"""What was understood of labelled data, in lines for a person: how many rows, of which classes, the first of them."""

from collections import Counter
from collections.abc import Iterable, Sequence

from electra.errors import escape_controls
from electra.tasks.datasets.questions import Question
from electra.tasks.datasets.samples import Sentence, Task

PREVIEWED = 5  # rows of a split
NAMED = 20  # classes of a split, the commonest
SHOWN = 100  # characters of a text


def describe_samples(task: Task, split: str) -> str:
    """How many rows a split has, and of which classes, or in which range."""
    samples = task.splits[split]
    parts = [f"{len(samples):,} rows"]
    labels = [sample.label for sample in samples if sample.label is not None]
    if not labels:
        parts.append("no labels")
    elif task.kind == "score":
        scores = [label for label in labels if isinstance(label, float)]
        parts.append(f"scores from {min(scores):g} to {max(scores):g}, mean {sum(scores) / len(scores):.4g}")
    else:
        names = [name for label in labels for name in name_parts(task, label)]
        nothing = sum(isinstance(label, tuple) and not any(label) for label in labels)
        parts.append(count_names(names) + (f", none {nothing:,}" if nothing else ""))
    if labels and len(labels) < len(samples):
        parts.append(f"without a label {len(samples) - len(labels):,}")
    empty = sum(not sample.text.strip() or (sample.pair is not None and not sample.pair.strip()) for sample in samples)
    return "; ".join(parts + ([f"an empty text in {empty:,}"] if empty else []))


def name_parts(task: Task, label: object) -> list[str]:
    """The names of a sample's class or labels; a score as text."""
    if isinstance(label, tuple):
        return [name for name, value in zip(task.labels, label, strict=True) if value]
    return [task.labels[label] if isinstance(label, int) and task.labels else f"{label}"]


def preview_samples(task: Task, split: str) -> list[str]:
    """The first rows of a split: label, text and, in pairs, the other."""
    lines = []
    for sample in task.splits[split][:PREVIEWED]:
        label = "no label" if sample.label is None else ", ".join(name_parts(task, sample.label)) or "none"
        texts = [sample.text] if sample.pair is None else [sample.text, sample.pair]
        lines.append(f"{label}: {' | '.join(map(shorten, texts))}")
    return lines


def describe_sentences(sentences: Sequence[Sentence]) -> str:
    """How many sentences and words a split has, and which tags."""
    words = sum(len(sentence.words) for sentence in sentences)
    untagged = sum(sentence.tags is None for sentence in sentences)
    tags = [tag for sentence in sentences for tag in sentence.tags or ()]
    parts = [f"{len(sentences):,} sentences, {words:,} words", count_names(tags) if tags else "no tags"]
    if tags and untagged:
        parts.append(f"sentences without tags {untagged:,}")
    return "; ".join(parts)


def preview_sentences(sentences: Sequence[Sentence]) -> list[str]:
    """The first sentences, each word with its tag."""
    return [
        shorten(" ".join(f"{word}/{tag}" for word, tag in zip(each.words, each.tags, strict=True)))
        if each.tags is not None
        else shorten(" ".join(each.words))
        for each in sentences[:PREVIEWED]
    ]


def describe_questions(questions: Sequence[Question]) -> str:
    """How many questions a split has, about how many texts, and how many have an answer."""
    contexts = len({question.context for question in questions})
    impossible = sum(question.impossible for question in questions)
    unsaid = sum(not question.impossible and not question.golds for question in questions)
    answered = len(questions) - impossible - unsaid
    counts = {"with an answer": answered, "without one": impossible, "for which the file does not say": unsaid}
    said = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    return f"{len(questions):,} questions about {contexts:,} texts: {said}"


def preview_questions(questions: Sequence[Question]) -> list[str]:
    """The first questions, each with its right answers and how its text begins."""
    return [
        f"{shorten(each.text)} → {', '.join(map(shorten, dict.fromkeys(each.golds))) or 'no answer'} | "
        f"{shorten(each.context)}"
        for each in questions[:PREVIEWED]
    ]


def count_names(names: Iterable[str]) -> str:
    """Each name with how often it is there, the commonest first."""
    counts = Counter(names)
    listed = ", ".join(f"{name} {count:,}" for name, count in counts.most_common(NAMED))
    return listed + (f" and {len(counts) - NAMED:,} more" if len(counts) > NAMED else "")


def shorten(text: str) -> str:
    """A text in one line, with its spaces written out, cut after ``SHOWN`` characters."""
    return repr(text if len(text) <= SHOWN else text[:SHOWN] + "…")


def format_account(split: str, account: Sequence[str], contents: str, preview: Sequence[str] = ()) -> list[str]:
    """The lines about one split: what was read and left out, what is in it, and its first rows."""
    source, *details = account or [""]
    head = f"{split}: {source}: {contents}" if source else f"{split}: {contents}"
    return [escape_controls(line) for line in (head, *(f"  {line}" for line in (*details, *preview)))]
