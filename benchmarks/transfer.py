"""What pre-training is worth: an encoder beside the same with random weights, fine-tuned and judged by one protocol.

    python benchmarks/transfer.py runs/s1 --out transfer/ --cola glue/CoLA --mrpc glue/MRPC --chunking conll2000 \\
        --blimp blimp/ --seeds 3

Also --sst-2, --sts-b and --squad (train-v1.1.json.gz and dev-v1.1.json.gz). Tasks that are not named are left out. The
same command goes on where it stopped; OUT/transfer.json has the figures.
"""

import argparse
import json
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch

from electra.interchange import huggingface
from electra.interchange.folders import find_encoder
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.report.tables import format_table
from electra.workflows.evaluate import EvaluateConfig, evaluate
from electra.workflows.finetune import FinetuneConfig, finetune

GLUE = ("cola", "mrpc", "sst-2", "sts-b")


def main(arguments: Sequence[str] | None = None) -> None:
    """Fine-tune and judge both encoders, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a run's folder, or an exported one")
    parser.add_argument("--out", required=True)
    for task in GLUE:
        parser.add_argument(f"--{task}", default="", help="folder of the task's TSV files")
    parser.add_argument("--chunking", default="", help="folder with CoNLL-2000's train.txt and test.txt")
    parser.add_argument("--squad", default="", help="folder with train-v1.1.json.gz and dev-v1.1.json.gz")
    parser.add_argument("--blimp", default="", help="folder of minimal pairs")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args(arguments)
    if not any((options.chunking, options.squad, options.blimp, *(folder_of(task, options) for task in GLUE))):
        parser.error("no task is named")
    out = Path(options.out)
    models = {
        "pre-trained": Path(options.model),
        "random weights": save_random_twin(Path(options.model), out / "random-weights"),
    }
    figures: dict[str, dict[str, list[float]]] = {name: {} for name in models}
    for name, model in models.items():
        for config in list_finetunings(options, model, out / name.split()[0]):
            for task, summary in finetune(config).items():
                for metric, figure in summary["figures"].items():
                    figures[name][f"{task} {metric}"] = list(figure["values"].values())
    if options.blimp:
        results = evaluate(
            EvaluateConfig(models=tuple(map(str, models.values())), task="minimal-pairs", data=options.blimp)
        )
        for name, model in models.items():
            figures[name]["blimp accuracy"] = [results[str(model)]["accuracy"]]
    print(format_figures(figures))
    report = {
        "machine": f"{os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}, {platform.machine()}",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__, "seeds": options.seeds, "figures": figures,
    }  # fmt: skip
    (out / "transfer.json").write_text(json.dumps(report, indent=1) + "\n")


def save_random_twin(model: Path, folder: Path) -> Path:
    """Write the same encoder, tokenizer and all, with fresh weights, unless ``folder`` is there."""
    if not folder.exists():
        source = find_encoder(model)
        config = huggingface.load_tower(source).config
        torch.manual_seed(0)
        folder.parent.mkdir(parents=True, exist_ok=True)
        huggingface.save_tower(folder, Tower.detection(config, build_embeddings(config)), source, None)
    return folder


def folder_of(task: str, options: argparse.Namespace) -> str:
    """The folder of a GLUE task; empty if it is not named."""
    return getattr(options, task.replace("-", "_"))


def list_finetunings(options: argparse.Namespace, model: Path, out: Path) -> list[FinetuneConfig]:
    """The fine-tunings that the options name."""
    base = {"model": str(model), "out": str(out), "seeds": options.seeds}
    configs = [FinetuneConfig(task=task, data=folder, **base) for task in GLUE if (folder := folder_of(task, options))]
    if options.chunking:
        train, dev = (str(Path(options.chunking) / name) for name in ("train.txt", "test.txt"))
        configs.append(FinetuneConfig(train=train, dev=dev, kind="tags", name="chunking", **base))
    if options.squad:
        train, dev = (str(Path(options.squad) / f"{name}-v1.1.json.gz") for name in ("train", "dev"))
        configs.append(FinetuneConfig(train=train, dev=dev, kind="answers", **base))
    return configs


def format_figures(figures: dict[str, dict[str, list[float]]]) -> str:
    """A table of mean ± standard deviation over seeds."""
    rows = []
    for name in next(iter(figures.values())):
        values = [by_task[name] for by_task in figures.values()]
        spreads = [statistics.stdev(v) if len(v) > 1 else 0.0 for v in values]
        rows.append([name, *(f"{statistics.mean(v):.3f} ± {s:.3f}" for v, s in zip(values, spreads, strict=True))])
    return format_table(["", *figures], rows)


if __name__ == "__main__":
    main()
