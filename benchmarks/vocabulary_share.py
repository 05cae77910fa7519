"""Which share of a run's operations are logits over the vocabulary: matrix products that grow with nothing else.

    python benchmarks/vocabulary_share.py --vocab-size 8192 --presets modern-tiny modern-small small base \
        --objectives mlm warmed-electra "electra mask_rate=0.15 replace_rate=0.85"

Operations (`electra.flops`) are linear in the size of the vocabulary. So the share is what a run with twice as many ids
would cost more. It decides how far a ranking of mask rates carries: in a small encoder a chosen token is dear.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace

import torch

from electra import recipes
from electra.objectives.build import CorpusFacts
from electra.report.tables import format_markdown
from electra.workflows.compare.objectives import parse_objective
from electra.workflows.pretraining.config import PretrainConfig


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row for each preset, a column for each objective."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["modern-tiny"])
    parser.add_argument("--objectives", nargs="+", default=["mlm"], help="as `electra compare` reads them")
    parser.add_argument("--vocab-size", type=int, default=0, help="0: each preset's own")
    options = parser.parse_args(arguments)
    rows = []
    for name in options.presets:
        base = recipes.apply_preset(PretrainConfig(), name)
        size = options.vocab_size or base.encoder.vocab_size
        shares = [vocabulary_share(parse_objective(base, text).config, size) for text in options.objectives]
        rows.append([name, f"{size:,}", *(f"{share:.0%}" for share in shares)])
    print(format_markdown(["", "ids", *options.objectives], rows))


def vocabulary_share(config: PretrainConfig, vocab_size: int) -> float:
    """The share of the operations of the whole run, each stage with its own share of them."""
    once, twice = (stage_flops(config, vocab_size * factor) for factor in (1, 2))
    shares = [share for share, _ in config.objective.stages]
    growths = [(more - less) / less for less, more in zip(once, twice, strict=True)]
    return sum(share * growth for share, growth in zip(shares, growths, strict=True)) / sum(shares)


def stage_flops(config: PretrainConfig, vocab_size: int) -> list[int]:
    """Operations of a row, forward and backward, in each stage of the objective; of the last phase's length."""
    encoder = replace(config.encoder, vocab_size=vocab_size)
    facts = CorpusFacts(0, lambda: torch.zeros(vocab_size, dtype=torch.bool), lambda: torch.ones(vocab_size))
    with torch.device("meta"):  # shapes alone
        stages = [stage.build(encoder, facts, config.seed) for _, stage in config.objective.stages]
    return [stage.flops(config.phases[-1].length) for stage in stages]


if __name__ == "__main__":
    main()
