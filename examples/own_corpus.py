"""own_corpus.sh from Python: from text files to an encoder, and a vector for each of a few texts.

    python examples/own_corpus.py "corpus/*.txt" work/ --hours 8

On a CPU add --preset modern-tiny, whose steps are smaller. Killed, the same command goes on where it stopped.
"""

import argparse
from pathlib import Path

import numpy as np

import electra
from electra import recipes
from electra.config import load_config


def main() -> None:
    """Every command of the shell is a function with a config class of the same fields."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", help="text files: a path or a pattern")
    parser.add_argument("work", type=Path, help="folder for all that is made")
    parser.add_argument("--preset", default="modern-small", help="a recipe: electra pretrain --help lists them")
    parser.add_argument("--config", default="", help="a file of settings, laid over the preset")
    parser.add_argument("--hours", type=float, default=8)
    parser.add_argument("--vocab-size", type=int, default=30522)
    options = parser.parse_args()
    tokenizer, data, run, hub = (str(options.work / name) for name in ("tok", "data", "run", "hub"))

    if not Path(tokenizer).exists():
        electra.tokenizer(electra.TokenizerConfig(data=(options.text,), vocab_size=options.vocab_size, out=tokenizer))
    electra.prepare(electra.PrepareConfig(data=(options.text,), tokenizer=tokenizer, out=data))
    config = recipes.apply_preset(electra.PretrainConfig(data=data, out=run, hours=options.hours), options.preset)
    electra.pretrain(load_config(config, options.config) if options.config else config)
    electra.evaluate(electra.EvaluateConfig(models=(run,)))
    if not Path(hub).exists():
        electra.export(electra.ExportConfig(run=run, as_="encoder", out=hub))

    encoder = electra.load(run)
    vectors = encoder.encode(["the chef cooked the meal", "the cook made dinner"])  # float32 [texts, width]
    one, other = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    print(f"cosine of two sentences: {one @ other:.3f}")


if __name__ == "__main__":
    main()
