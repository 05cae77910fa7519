"""Labels of one's own: tune an encoder, judge it, and label new texts with what transformers loads.

    python own_task.py runs/s1 train.csv dev.csv new.txt work/

The encoder is a run of `electra pretrain`, an exported folder, or one of Hugging Face's. The csv files have the columns
text and label; new.txt has a text a line. The same in the shell: `electra finetune`, then `electra export`.
"""

import argparse
from pathlib import Path

from transformers import pipeline

import electra


def main() -> None:
    """Tune with several seeds, export the best, and print a label for each new text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", help="a run, or a folder with an encoder")
    parser.add_argument("train", help="labelled texts to learn from")
    parser.add_argument("dev", help="labelled texts to judge by")
    parser.add_argument("new", type=Path, help="texts without labels")
    parser.add_argument("work", type=Path, help="folder for all that is made")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    tuned, served = str(options.work / "tuned"), str(options.work / "served")

    electra.finetune(
        electra.FinetuneConfig(
            model=options.encoder, train=options.train, dev=options.dev, seeds=options.seeds, out=tuned
        )
    )
    electra.export(electra.ExportConfig(run=tuned, out=served))

    classify = pipeline("text-classification", model=served)
    for line in options.new.read_text(encoding="utf-8").removesuffix("\n").split("\n"):
        (found,) = classify([line], truncation=True)
        print(f"{found['label']}\t{found['score']:.3f}\t{line}")


if __name__ == "__main__":
    main()
