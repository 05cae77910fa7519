"""What the records of a run, or of a fine-tuning, say of a model: the sections of its card. No path is in them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from electra import files
from electra.dataset.data import Data
from electra.dataset.shards import MANIFEST
from electra.engine.telemetry import UNMEASURED, read_metrics
from electra.interchange.huggingface import CARD_FILE
from electra.interchange.views import ModelView
from electra.report.tables import format_markdown
from electra.run_folder import ENVIRONMENT, FINAL, FINETUNING_RUN, RESULT, STARTS, read_json
from electra.tasks.finetuning.run import ASKED, CHOSEN
from electra.workflows.finetune_summary import SUMMARY_FILE
from electra.workflows.pretrain import card_settings
from electra.workflows.trained import load_run_config

METRICS = "metrics.jsonl"
DAMAGED = "it is not as it was written"
ANEW = ("How to load", "Limits", "Licence", "Layers")  # sections that each export writes for itself


def describe_model(what: ModelView) -> str:
    """The sections on data, training, figures and hardware: from the run's folder or that of the fine-tuning, else what
    the card that lies beside the model says.

    Raises:
        UserError: a record that is damaged.
    """
    above = what.folder.resolve().parent
    if files.read_kind(above) == FINETUNING_RUN and (above / RESULT).is_file():
        return describe_finetuning(above)
    if above.name == FINAL and (above.parent / METRICS).is_file():
        return describe_run(above.parent, what.folder)
    card = what.folder / CARD_FILE
    return strip_card(card.read_text(encoding="utf-8")) if card.is_file() else ""


def strip_card(text: str) -> str:
    """What a card says of the model itself: without front matter and title, and without how to load this copy."""
    body = text.split("---\n", 2)[2] if text.startswith("---\n") and text.count("---\n") > 1 else text
    sections = body.partition("\n## ")
    kept = [part for part in (sections[1] + sections[2]).split("\n## ") if part and not part.startswith(ANEW)]
    return "".join(f"\n## {part.strip()}\n" for part in kept)


def describe_run(run: Path, tower: Path) -> str:
    """The sections of the tower of a pre-training run that is in the folder ``tower``."""
    config, vocab_size = load_run_config(run), read_json(tower / "config.json", DAMAGED)["vocab_size"]
    environment = read_json(run / ENVIRONMENT, DAMAGED)
    lines = [line for line in read_metrics(run / METRICS) if line["split"] == "held-out"]
    if tower.name == "encoder":  # what the first stage made
        lines = [line for line in lines if line["phase"] == 0]
    last = lines[-1] if lines else {}
    optimizer, schedule, phases = config.optimizer, config.schedule, config.phases
    recipe: dict[str, object] = {
        "objective": config.objective.kind,
        "optimizer": f"{optimizer.kind}, learning rate {optimizer.learning_rate:g}, {schedule.kind} schedule",
        "rows x tokens a step": ", then ".join(f"{phase.rows} x {phase.length}" for phase in phases),
        "seed": str(config.seed),
        "steps": last.get("step", ""),
        "tokens": last.get("tokens", ""),
        "floating-point operations": f"{last['flops']:.4g}" if "flops" in last else "",
        "seconds": last.get("seconds", ""),
    }
    figures = [[name, f"{value:.6g}"] for name, value in last.items() if name not in UNMEASURED]
    table = format_markdown(["held-out figure", f"seed {config.seed}"], figures)
    measured = f"Of one run, on text that was held out.\n\n{table}" if figures else "None were taken."
    return (
        f"\n## Data\n\n{describe_data(Path(config.data), environment.get('data'))}\n"
        f"\n## Training\n\n{format_pairs(recipe)}\n"
        f"\n## Figures\n\n{measured}\n"
        f"\n## Hardware\n\n{describe_hardware(environment)}\n"
        f"\n## Config\n\n```json\n{json.dumps(card_settings(config, vocab_size), indent=1)}\n```\n"
    )


UNTOLD = "chosen by the program"  # and not recorded by the version that tuned it


def describe_data(folder: Path, fingerprint: object) -> str:
    """The sources of prepared data with their sizes, where the folder still holds what the run was begun on."""
    name = f"`{folder.name}`, prepared by `electra prepare`."
    unknown = "Its licence is not recorded."
    if not (folder / MANIFEST).is_file() or Data.open(folder).fingerprint != fingerprint:
        return f"{name} {unknown} Nor are its sizes: it was not found when this card was written."
    sources = read_json(folder / MANIFEST, DAMAGED)["sources"]
    keys = ("documents", "words", "tokens", "bytes")
    rows = [[source, *(splits.get("train", {}).get(key, 0) for key in keys)] for source, splits in sources.items()]
    return f"{name} {unknown}\n\n{format_markdown(['source', *keys], rows)}"


def describe_finetuning(seed: Path) -> str:
    """The sections of a fine-tuned model, from the folder of its seed and the summary of its task."""
    asked, figures = read_json(seed / ASKED, DAMAGED), read_json(seed / RESULT, DAMAGED)
    told = (seed / CHOSEN).is_file()
    chosen = read_json(seed / CHOSEN, DAMAGED) if told else {"tuning": asked["settings"]["tuning"], "steps": ""}
    tuning, optimizer = chosen["tuning"], chosen["tuning"]["optimizer"]
    rate = f"learning rate {optimizer['learning_rate']:g}" if optimizer["learning_rate"] else UNTOLD
    recipe: dict[str, object] = {
        "task": asked["task"],
        "encoder": f"`{Path(asked['model']).name}`",
        "head": ("paper" if tuning["head"] == "auto" else tuning["head"]) if told else UNTOLD,
        "what stands for a text": tuning["pooling"] if tuning["pooling"] != "auto" else "",
        "epochs": f"{tuning['epochs']:.4g}" if tuning["epochs"] else UNTOLD,
        "steps": chosen["steps"],
        "examples a step": tuning["rows"],
        "optimizer": f"{optimizer['kind']}, {rate}",
        "seed": str(asked["seed"]),
    }
    over_seeds, place = read_seeds(seed)
    rows = [
        [name, f"{value:.4f}", *over_seeds.get(name, ("", ""))]
        for split, metrics in figures.items()
        for name, value in ((f"{split}/{metric}", value) for metric, value in metrics.items())
    ]
    table = format_markdown(["figure", "this model", "median", "seeds"], rows)
    return (
        "\n## Data\n\nThe task's examples. Their licence is not recorded.\n"
        f"\n## Training\n\n{format_pairs(recipe)}\n"
        f"\n## Figures\n\n{place}{table}\n"
        f"\n## Hardware\n\n{describe_hardware(read_json(seed / ENVIRONMENT, DAMAGED))}\n"
        f"\n## Config\n\n```json\n{json.dumps(asked['settings'], indent=1)}\n```\n"
    )


def read_seeds(seed: Path) -> tuple[dict[str, tuple[str, str]], str]:
    """split/metric → its median and the values of all seeds with the learning rate of this one, from the summary above
    its folder; and a paragraph that says which of all runs on dev is the best."""
    for task in seed.parents[:2]:
        if (task / SUMMARY_FILE).is_file():
            summary = read_json(task / SUMMARY_FILE, DAMAGED)
            rates = summary.get("rates") or {"": summary.get("figures", {})}
            figures = rates.get(seed.parent.name, rates.get("", {}))
            values = {
                name: (f"{each['median']:.4f}", " ".join(f"{value:.4f}" for value in each["values"].values()))
                for name, each in figures.items()
            }
            runs = sum(len(next(iter(of_rate.values()))["values"]) for of_rate in rates.values() if of_rate)
            best = (summary["rate"], Path(summary["best"]).name)
            is_this = best == (seed.parent.name if best[0] else "", seed.name)
            which = "It is the best" if is_this else f"Another one, {'/'.join(filter(None, best))}, is the best"
            return values, f"{which} of {runs} runs on dev.\n\n" if runs > 1 else ""
    return {}, ""


def describe_hardware(environment: Mapping[str, Any]) -> str:
    """The machine of the first start, and with which versions; how often the work was started again."""
    machine = environment.get("gpu") or environment.get("processor") or environment.get("machine", "unknown")
    packages = environment.get("packages", {})
    versions = ", ".join(
        f"{name} {packages[name]}" for name in ("electra", "torch", "transformers") if name in packages
    )
    starts = len(environment.get(STARTS, ()))
    again = f" Started again {starts} time{'s' * (starts > 1)}." if starts else ""
    return f"{machine}, {environment.get('threads', '?')} threads of a CPU. {versions}.{again}"


def format_pairs(pairs: Mapping[str, object]) -> str:
    """A table of names and values, without those that are empty."""
    return format_markdown(["setting", "value"], [[name, value] for name, value in pairs.items() if value != ""])
