"""The lengths of documents as a PNG."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

SIGN = b"electra, lengths of documents, format 1"  # by which a picture of ours is known
ROWS = (128, 512)  # lengths of rows that are drawn in


def draw_lengths(
    counts: Mapping[str, Int[np.ndarray, " bins"]], edges: Float[np.ndarray, " edges"], path: Path
) -> None:
    """Draw the shares of documents and of their tokens by length.

    ``counts``: split → documents in each bin. ``edges``: of the bins, in tokens.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    centre = np.sqrt(edges[:-1] * edges[1:])
    for number, (title, weight) in enumerate((("documents", np.ones_like(centre)), ("tokens", centre)), 1):
        axes = figure.add_subplot(1, 2, number)
        for split, count in counts.items():
            share = count * weight / max((count * weight).sum(), 1)
            axes.stairs(share, edges, label=split)
        for length in ROWS:
            axes.axvline(length, color="gray", linewidth=0.8, linestyle=":")
        axes.set_xscale("log")
        axes.set_title(f"share of the {title}", fontsize=10)
        axes.set_xlabel("tokens in the document (dotted: rows of 128, 512)", fontsize=8)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=110, format="png", metadata={"Software": SIGN.decode()})
