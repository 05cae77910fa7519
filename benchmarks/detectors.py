"""Which detector finds replaced words best: all of them judged on the same text, corrupted by the same generators.

    python benchmarks/detectors.py --data data/ --json detectors.json \\
        --detectors warmed=cmp/runs/recipe/3e13-flops/seed-1 electra=cmp/runs/electra/3e13-flops/seed-1 \\
        --generators warmed=cmp/runs/recipe/3e13-flops/seed-1 mlm=cmp/runs/mlm/3e13-flops/seed-1

A run's own AUC says how well its detector sees through its own generator, and a weak generator is seen through easily.
Here each detector reads the held-out rows as each generator filled them: those of runs, and one that draws tokens by
how often they come. 15 % of the tokens are chosen, all are masked before the generator fills them, and all detectors
read the same samples.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from electra.dataset.data import Data
from electra.dataset.layout import Packed
from electra.dataset.rows import Rows
from electra.engine.parallel import Parallel
from electra.engine.telemetry import describe_environment
from electra.errors import UserError
from electra.interchange import huggingface
from electra.model.encoder import Tower
from electra.objectives.build import Electra, Filling
from electra.objectives.corrupt import Generate
from electra.objectives.generators import MaskedGenerator
from electra.objectives.pretrainer import Pretrainer
from electra.report.tables import format_table
from electra.run_folder import write_json
from electra.tasks.frozen.held_out import evaluate_held_out
from electra.tokenization.loading import load_tokenizer
from electra.workflows.pretraining.pretrainers import describe_corpus

FREQUENCIES = "by frequency"
MASK_RATE = 0.15


@dataclass(frozen=True)
class Named:
    """A run folder, and what it is called in the table."""

    name: str
    folder: Path

    @classmethod
    def read(cls, text: str) -> "Named":
        """NAME=FOLDER. Raises ``ArgumentTypeError`` for anything else."""
        name, _, folder = text.partition("=")
        if not (name and (Path(folder) / "final").is_dir()):
            raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=FOLDER, a finished run")
        return cls(name, Path(folder))

    def load(self, tower: str, tokenizer: str) -> Tower:
        """A tower of the run. Raises ``UserError`` for one of another vocabulary than the data's."""
        folder = self.folder / "final" / tower
        if load_tokenizer(folder).fingerprint != tokenizer:
            raise UserError(f"{folder}: its vocabulary is not the data's")
        return huggingface.load_tower(folder)


def main(arguments: Sequence[str] | None = None) -> None:
    """Judge every detector on every generator's samples, print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="prepared data; its held-out split is read")
    parser.add_argument("--detectors", type=Named.read, nargs="+", required=True, metavar="NAME=RUN")
    parser.add_argument("--generators", type=Named.read, nargs="+", required=True, metavar="NAME=RUN")
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--json", type=Path, required=True, help="the file to write")
    options = parser.parse_args(arguments)
    data = Data.open(options.data)
    rows = Rows(data.held_out, Packed(), options.length, 0)
    fillers = [FREQUENCIES, *options.generators]
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for detector in options.detectors:
        of_detector = figures.setdefault(detector.name, {})
        for filler in fillers:
            pretrainer = put_together(detector, filler, data)
            found = evaluate_held_out(pretrainer, rows, options.rows, 16, Parallel.alone())
            name = filler if isinstance(filler, str) else filler.name
            of_detector[name] = {
                key.partition("/")[2]: found[key] for key in ("discriminator/auc", "discriminator/replaced_rate")
            }
            print(f"{detector.name} on {name}: {of_detector[name]}", flush=True)
    print(format_auc(figures))
    write_json(options.json, {"auc": figures, "rows": options.rows, "mask_rate": MASK_RATE} | describe_environment())


def put_together(detector: Named, filler: Named | str, data: Data) -> Pretrainer:
    """The detector behind a generator: of a run, or the one that draws by frequency."""
    reader = detector.load("discriminator", data.train.tokenizer)
    drawn: Filling = "unigram" if filler == FREQUENCIES else "masked"
    objective = Electra(mask_rate=MASK_RATE, replace_rate=1.0, embeddings="own", generator=drawn)
    pretrainer = objective.build(reader.config, describe_corpus(data), seed=0)
    pretrainer.encoder.take(reader.values())
    if isinstance(filler, Named):
        assert isinstance(pretrainer.corrupt, Generate) and isinstance(pretrainer.corrupt.generator, MaskedGenerator)
        pretrainer.corrupt.generator.tower = filler.load("generator", data.train.tokenizer)
    return pretrainer


def format_auc(figures: dict[str, dict[str, dict[str, float]]]) -> str:
    """A row for each detector, a column for each generator."""
    names = list(next(iter(figures.values())))
    rows = [[name, *(f"{of_detector[each]['auc']:.3f}" for each in names)] for name, of_detector in figures.items()]
    return format_table(("AUC of a detector", *names), rows)


if __name__ == "__main__":
    main()
