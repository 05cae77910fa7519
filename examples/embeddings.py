"""Tune an exported encoder, so that sentences of one meaning get vectors close together, with sentence-transformers.

    pip install 'electra[serve]' 'sentence-transformers[train]'
    electra export runs/s1 --format sentence-transformers --out hub/
    python examples/embeddings.py hub/ pairs.tsv tuned/ --judge sts-b/dev.tsv

A line of pairs.tsv has two sentences of one meaning with a tab between them. The other sentences of a batch are the
wrong answers. Or a line has one sentence alone, which is paired with itself: then only dropout makes the two vectors
differ (SimCSE, Gao et al., 2021). Or every line has two sentences and, after another tab, a score, the higher the more
alike they are: then the cosines are to come in the order of the scores (CoSENT). --judge: a .tsv file with the columns
sentence1, sentence2 and score, as STS-B has.

    tail -n +2 sts-b/train.tsv | cut -f 8-10 > scored.tsv
    python examples/embeddings.py hub/ scored.tsv tuned/ --epochs 4 --learning-rate 1e-3 --dropout 0
"""

import argparse
import csv
import math
import os
from collections.abc import Sequence
from pathlib import Path

from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.sampler import BatchSamplers
from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator
from sentence_transformers.sentence_transformer.losses import CoSENTLoss, MultipleNegativesRankingLoss

# What ELECTRA, BERT and ModernBERT call their dropout; a config takes the names that it knows.
DROPOUT = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "embedding_dropout",
    "mlp_dropout",
    "attention_dropout",
)


Pairs = Sequence[tuple[str, str]] | Sequence[tuple[str, str, float]]  # of one meaning; or with a score each


def read_pairs(file: str) -> Pairs:
    """The two sentences of each line, a sentence alone twice; or two sentences and a score, if the first has."""
    text = Path(file).read_text(encoding="utf-8")
    lines = {number: line.split("\t") for number, line in enumerate(text.split("\n"), 1) if line.strip()}
    if not lines:
        raise SystemExit(f"{file}: nothing in it; expected a pair of sentences a line, with a tab between them")
    scored = len(next(iter(lines.values()))) == 3
    for number, fields in lines.items():
        if len(fields) not in ((3,) if scored else (1, 2)):
            expected = "three, as in the first line" if scored else "one or two"
            raise SystemExit(f"{file}, line {number}: {len(fields)} fields, expected {expected}")
        if scored and not is_number(fields[2]):
            raise SystemExit(f"{file}, line {number}: {fields[2]!r} is no score; expected a number such as 3.8")
    if scored:
        return [(one, other, float(score)) for one, other, score in lines.values()]
    return [(fields[0], fields[-1]) for fields in lines.values()]


def is_number(text: str) -> bool:
    """Whether the text is a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def tune(
    folder: str, pairs: Pairs, out: str, epochs: float = 1, batch: int = 64,
    learning_rate: float = 1e-4, dropout: float = 0.1, seed: int = 1, steps: int = -1,
) -> SentenceTransformer:  # fmt: skip
    """Tune the model in ``folder``, save it in ``out`` and return it. ``steps``: if positive, in place of epochs.

    Modern encoders are pre-trained without dropout, which leaves a sentence and itself nothing to differ by: it is set.
    """
    rates = dict.fromkeys(DROPOUT, dropout)
    model = SentenceTransformer(folder, config_kwargs=rates, local_files_only=True)
    scored = len(pairs[0]) == 3
    names = ("sentence1", "sentence2", "score") if scored else ("anchor", "positive")
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=out,
            num_train_epochs=epochs,
            max_steps=steps,
            per_device_train_batch_size=batch,
            learning_rate=learning_rate,
            warmup_steps=0.1,  # of all steps
            # Without scores the other pairs of a batch are wrong answers: a copy of the right one would be among them.
            batch_sampler=BatchSamplers.BATCH_SAMPLER if scored else BatchSamplers.NO_DUPLICATES,
            save_strategy="no",
            report_to="none",
            seed=seed,
        ),
        train_dataset=Dataset.from_dict(dict(zip(names, zip(*pairs, strict=True), strict=True))),
        loss=CoSENTLoss(model) if scored else MultipleNegativesRankingLoss(model),
    )
    trainer.train()
    model.save(out)
    return model


def judge(model: SentenceTransformer, file: str) -> float:
    """Spearman's correlation of the file's scores with the cosines of the pairs' vectors."""
    with open(file, encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    first, second, scores = ([row[name] for row in rows] for name in ("sentence1", "sentence2", "score"))
    evaluator = EmbeddingSimilarityEvaluator(
        first, second, list(map(float, scores)), main_similarity="cosine", write_csv=False
    )
    return evaluator(model)["spearman_cosine"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Tune, and judge before and after if there is a file to judge by."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="what `electra export --format sentence-transformers` wrote")
    parser.add_argument("pairs", help="a pair of sentences a line, a sentence a line, or a pair and a score")
    parser.add_argument("out", help="folder for the tuned model")
    parser.add_argument("--judge", default="", help="pairs with scores, as STS-B has them")
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--steps", type=int, default=-1, help="in place of epochs")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    if os.path.lexists(options.out) and not (os.path.isdir(options.out) and not os.listdir(options.out)):
        raise SystemExit(f"{options.out}: is there already; choose another folder")
    if options.judge:
        print(f"before: {judge(SentenceTransformer(options.folder, local_files_only=True), options.judge):.4f}")
    model = tune(
        options.folder, read_pairs(options.pairs), options.out, options.epochs, options.batch, options.learning_rate,
        options.dropout, options.seed, options.steps,
    )  # fmt: skip
    if options.judge:
        print(f"after: {judge(model, options.judge):.4f}")


if __name__ == "__main__":
    main()
