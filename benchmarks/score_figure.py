"""Some scores of a comparison against training operations, as one picture: a panel each, bands over seeds.

    python benchmarks/score_figure.py results/budgets --out objectives.png \
        --scores "packages-30: fine-tuned, macro-f1" "chunks: fine-tuned, f1"

`electra compare` draws all its scores in one picture; a page shows those that it speaks of.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from electra.files import write_whole
from electra.report.compare_figures import draw_against_budget
from electra.workflows.reporting.comparisons import read_comparison


def main(arguments: Sequence[str] | None = None) -> None:
    """Read, leave out the other scores, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with the scores.jsonl that `electra compare` wrote")
    parser.add_argument("--scores", nargs="+", required=True, help="their names, in the order of the panels")
    parser.add_argument("--out", type=Path, required=True, help="the PNG to write")
    options = parser.parse_args(arguments)
    comparison = read_comparison(options.folder)
    if missing := [score for score in options.scores if score not in comparison.scores]:
        parser.error(f"{missing[0]!r} is none of its scores: {', '.join(map(repr, comparison.scores))}")
    chosen = [
        replace(result, scores={name: result.scores[name] for name in options.scores if name in result.scores})
        for result in comparison.results
    ]
    with write_whole(options.out) as file:
        draw_against_budget(replace(comparison, results=chosen), file)


if __name__ == "__main__":
    main()
