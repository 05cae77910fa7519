"""The last words of ``electra demo``: what was measured, where everything lies, and what a longer run changes."""

from collections.abc import Mapping
from pathlib import Path

from electra.engine.telemetry import read_metrics
from electra.report.tables import format_table
from electra.workflows.demo.scores import DemoScores, format_demo_scores

AUC = "discriminator/auc"
# The figures are those of results/demo and results/demo/hour.
CLOSING_WORDS = (
    "The encoder began with embeddings that were counted, and learned by masked language modelling for 85 % of the\n"
    "operations; then a copy of it learned to detect. The published Small reads 16 billion tokens, this run\n"
    "{tokens:,}.\n"
    "\n"
    "What a longer run buys was measured once each, macro-F1 with 30 and 80 labels a class. 2.3e13 operations, 8.5\n"
    "minutes of two slow cores: 0.613 and 0.653, AUC 0.861. 2.4e14, an hour of one faster core: 0.660 and 0.698, AUC\n"
    "0.882. Such a run is `electra demo --minutes 60 --out runs/hour`; `--compare mlm` shows masked language\n"
    "modelling alone with equal operations."
)


def format_demo_summary(out: Path, run: Path, figures: Mapping[str, float], scores: DemoScores) -> str:
    """The text. ``figures``: those of ``electra evaluate`` on held-out text."""
    last = [line for line in read_metrics(run / "metrics.jsonl") if line["split"] == "held-out"][-1]
    rows = [
        ("tokens read in pre-training", last["tokens"]),
        ("floating-point operations", f"{last['flops']:.3g}"),
        ("AUC on replaced tokens, held-out text", figures[AUC]),
        ("  by token identity alone", figures["discriminator/identity_auc"]),
        ("skill, 1 - BCE / H(replaced rate)", figures["discriminator/skill"]),
        ("generator: masked tokens right", figures["generator/accuracy"]),
    ]
    places = [
        (out / "data", "the data, with its tokenizer"),
        (run / "curves.png", "curves; metrics.jsonl, config.json and environment.json beside it"),
        (out / "hub" / "encoder", "the encoder, for AutoModel and AutoModelForMaskedLM"),
        (out / "hub" / "discriminator", "the detector of replaced tokens, for AutoModelForTokenClassification"),
        (out / "hub" / "generator", "its generator, for AutoModelForMaskedLM"),
        (out / "summary.json", "these figures"),
    ]
    paragraphs = [
        format_table(["pre-training", "value"], rows),
        format_demo_scores(scores),
        "\n".join(f"{path!s:<32} {what}" for path, what in places),
        CLOSING_WORDS.format(tokens=last["tokens"]),
    ]
    return "\n\n".join(paragraphs)
