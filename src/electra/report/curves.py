"""A run's curves as a PNG."""

import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from electra.files import write_whole

FILE = "curves.png"
PANELS = [  # title, the figures that a panel shows
    ("generator: loss (nats)", ["generator/loss"]),
    ("generator: share right", ["generator/accuracy", "generator/sampled_accuracy"]),
    ("discriminator: loss (nats)", ["discriminator/loss"]),
    ("discriminator: AUC on replaced tokens", ["discriminator/auc"]),
    ("discriminator: skill", ["discriminator/skill"]),
    ("linear probe on labelled text", ["probe/best", "probe/last", "probe/majority"]),
    ("loss of a target", ["loss"]),
    ("dev", ["accuracy", "f1", "macro-f1", "micro-f1", "matthews", "spearman", "exact"]),
    ("gradient norm", [f"gradient_norm/{tower}" for tower in ("generator", "discriminator", "shared", "encoder")]),
    ("tokens a second", ["tokens_per_second"]),
]


def draw_curves(lines: Sequence[Mapping[str, float]], folder: Path) -> None:
    """Draw ``folder/curves.png`` from the lines of a metrics.jsonl: training figures as lines, held-out ones as dots.

    A training node may lack matplotlib. The run is complete without the picture, so its absence is only said.
    """
    if find_spec("matplotlib") is None:
        print(f"{folder / FILE}: not drawn, for matplotlib is not installed here", file=sys.stderr)
        return
    from matplotlib.figure import Figure

    panels = [(title, names) for title, names in PANELS if any(name in line for name in names for line in lines)]
    if not panels:
        return
    columns = min(len(panels), 4)
    height = -(-len(panels) // columns)
    figure = Figure(figsize=(4 * columns, 3 * height), layout="constrained")
    for index, (title, names) in enumerate(panels, 1):
        axes = figure.add_subplot(height, columns, index)
        for name in names:
            for split, style in (("train", {"linewidth": 1}), ("held-out", {"marker": "o", "linestyle": ":"})):
                points = [(line["tokens"], line[name]) for line in lines if line["split"] == split and name in line]
                if points:
                    axes.plot(*zip(*points, strict=True), label=f"{name.split('/')[-1]}, {split}", **style)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("tokens", fontsize=8)
        axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    with write_whole(folder / FILE) as file:
        figure.savefig(file, dpi=110, format="png")
