"""What counted embeddings are worth without any training: the demo's task, asked of untrained layers above them.

    make demo
    python benchmarks/counted.py runs/demo --json results/demo/counted.json

The vocabulary, the data, the shape of the encoder and the labelled task are the demo's, and so are the draws of labels
and the test texts. The rows are of mean square 1 / width, which is better here than as small as a run's first ones.
Fine-tuned once with the demo's settings for random weights, and once with those for its encoder.
"""

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from electra.dataset.data import Data
from electra.dataset.neighbours import count_neighbours, factorize_neighbours
from electra.engine.telemetry import describe_environment
from electra.interchange import huggingface
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.run_folder import write_json
from electra.tasks.finetuning.classify import classify_texts
from electra.tasks.metrics import macro_f1
from electra.tokenization.loading import load_tokenizer
from electra.workflows.package_task import LABELS, RANDOM_TUNING, TASK_FILE, TUNING, read_package_task
from electra.workflows.pretraining.counted import set_rows

DRAWS, SEED = 5, 1  # as the demo's: of the labels, of its pre-training
TUNINGS = {"as random weights": RANDOM_TUNING, "as the encoder": TUNING}


def main(arguments: Sequence[str] | None = None) -> None:
    """Count, fine-tune, and write the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="the folder that `electra demo` wrote")
    parser.add_argument("--json", type=Path, required=True, help="the file to write")
    options = parser.parse_args(arguments)
    encoder = options.demo / "electra" / "final" / "encoder"
    task, tokenizer = read_package_task(options.demo / TASK_FILE), load_tokenizer(encoder)
    config, gold = huggingface.load_tower(encoder).config, np.array(task.test_labels)
    counts = count_neighbours(Data.open(options.demo / "data").train)
    vectors = torch.from_numpy(factorize_neighbours(counts, config.embedding_size, SEED))
    scores: dict[str, dict[str, list[float]]] = {name: {} for name in TUNINGS}
    for name, tuning in TUNINGS.items():
        for per_class in LABELS:
            of_draws = scores[name].setdefault(str(per_class), [])
            for draw in range(DRAWS):
                texts, labels = task.draw_subset(per_class, draw)
                torch.manual_seed(draw)
                tower = Tower.detection(config, build_embeddings(config))
                table = tower.embeddings.tokens.weight
                set_rows(table, vectors)
                with torch.no_grad():
                    table /= (table.square().mean() * table.shape[1]).sqrt()
                classes = classify_texts(tower, tokenizer, texts, labels, task.test_texts, tuning, draw, "kernels")
                of_draws.append(macro_f1(gold, np.array(classes)))
            print(f"{name}, {per_class} a class: {statistics.mean(of_draws):.3f} ± {statistics.stdev(of_draws):.3f}")
    write_json(options.json, {"macro_f1": scores, "environment": describe_environment()}, indent=1)


if __name__ == "__main__":
    main()
