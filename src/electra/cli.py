"""The verbs: parse, call, print. Each is a function of the same name with a config class; only the one asked for is
imported.
"""

import argparse
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electra import __version__
from electra.errors import UserError

STOPPED = 130  # 128 + SIGINT, as shells count
PIPE_CLOSED = 141  # 128 + SIGPIPE
MISTAKE = 2


@dataclass(frozen=True)
class Verb:
    """A verb: what it does, and where its function and config class are (``module:function:class``)."""

    about: str
    where: str
    example: str
    positional: tuple[str, ...] = ()
    preset: str = ""  # the recipe that lies under file and flags, for a verb that has presets
    goes_on: str = ""  # the flag with a folder whose config.json, if there is one, lies there instead

    def load(self) -> tuple[Callable[[Any], object], type]:
        """The function and its config class."""
        module, function, config = self.where.split(":")
        found = importlib.import_module(module)
        return getattr(found, function), getattr(found, config)


VERBS = {
    "demo": Verb(
        "the built-in corpus, the whole chain in minutes",
        "electra.workflows.demo.demo:demo:DemoConfig",
        "electra demo --minutes 8",
    ),
    "tokenizer": Verb(
        "train a vocabulary on text: WordPiece, byte-level BPE or Unigram",
        "electra.corpus.prepare:tokenizer:TokenizerConfig",
        'electra tokenizer --data "corpus/*.txt" --vocab-size 30522 --out tok/',
    ),
    "prepare": Verb(
        "text of any kind and size to memory-mapped tokens, with a held-out split",
        "electra.corpus.prepare:prepare:PrepareConfig",
        'electra prepare --data "corpus/*.jsonl.gz" --tokenizer tok/ --out data/',
    ),
    "data": Verb(
        "what is in prepared data, whether it is undamaged, how it reads",
        "electra.workflows.data:data:DataConfig",
        "electra data data/ --verify",
        positional=("data",),
    ),
    "pretrain": Verb(
        "train generator and discriminator; the same --out goes on where it stopped",
        "electra.workflows.pretrain:pretrain:PretrainConfig",
        "electra pretrain --preset small --data data/ --out runs/s1 --tokens 2e9",
        preset="small",
        goes_on="--out",
    ),
    "evaluate": Verb(
        "what encoders know, side by side: held-out text, minimal pairs, probes",
        "electra.workflows.evaluate:evaluate:EvaluateConfig",
        "electra evaluate runs/s1 --task held-out",
        positional=("models",),
    ),
    "finetune": Verb(
        "an encoder on GLUE, SQuAD, tagging or a task of your own, several seeds",
        "electra.workflows.finetune:finetune:FinetuneConfig",
        "electra finetune runs/s1 --task cola --data glue/CoLA --out ft/ --seeds 5",
        positional=("model",),
    ),
    "compare": Verb(
        "objectives at equal cost: tables and figures of what their encoders are worth",
        "electra.workflows.compare.compare:compare:CompareConfig",
        "electra compare --objectives electra mlm --data data/ --budgets 1e13 1e14 --out cmp/",
        goes_on="--out",
    ),
    "inspect": Verb(
        "which tokens of a text look replaced",
        "electra.workflows.inspect:inspect:InspectConfig",
        'electra inspect runs/s1 "the chef ate the meal"',
        positional=("run", "texts"),
    ),
    "export": Verb(
        "a run's towers as folders that other tools load",
        "electra.workflows.export:export:ExportConfig",
        "electra export runs/s1 --format hf --out hub/",
        positional=("run",),
    ),
    "bench": Verb(
        "tokens a second, where a step's time goes, and memory on this machine",
        "electra.workflows.bench.bench:bench:BenchConfig",
        "electra bench --preset small --against transformers",
    ),
    "plan": Verb(
        "how long a preset takes on this machine, in how much memory, at what cost",
        "electra.workflows.plan:plan:PlanConfig",
        "electra plan --preset base --tokens 100e9 --price 2.5",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code: 0, 2 for a mistake of the user's, 130 after Ctrl-C."""
    try:
        run_command(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except UserError as error:
        print(f"electra: error: {error}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        print("electra: stopped", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the flush at exit stays quiet
        return PIPE_CLOSED
    return 0


def run_command(arguments: list[str]) -> None:
    """Call the verb that the arguments begin with."""
    from electra.config import suggest_closest

    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview_text())
        return
    if arguments[0] == "--version":
        print(__version__)
        return
    name, *rest = arguments
    if name not in VERBS:
        raise UserError(f"unknown command {name}{suggest_closest(name, VERBS) or '; electra --help lists them'}")
    function, config, show = resolve_command(name, VERBS[name], rest)
    if show:
        from electra.config import dump_config

        print(dump_config(config), end="")
    else:
        function(config)


def resolve_command(name: str, verb: Verb, arguments: list[str]) -> tuple[Callable[[Any], object], Any, bool]:
    """The verb's function, its config from all layers, and whether only to print that."""
    from electra import config, flags, recipes

    common = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    known = [common.add_argument("--config"), common.add_argument("--print-config", action="store_true")]
    if verb.preset:
        known.append(common.add_argument("--preset"))
    try:
        chosen, rest = common.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise UserError(str(error)) from error
    layers = [chosen.config] if chosen.config else []
    named = chosen.config or getattr(chosen, "preset", None)
    if begun := None if named else find_saved_config(verb, arguments):
        layers = [begun]
    elif verb.preset:
        layers.insert(0, recipes.find_preset(chosen.preset or verb.preset))
    function, config_class = verb.load()
    base = config_class()
    for file in layers:
        base = config.load_config(base, file)
    taken = [action.option_strings[0] for action in known]
    base = flags.parse_flags(base, rest, f"electra {name}", help_text(verb, config_class), verb.positional, taken)
    return function, base, chosen.print_config


def find_saved_config(verb: Verb, arguments: list[str]) -> Path | None:
    """The config of the run that the arguments say to go on with, if there is one."""
    if not verb.goes_on:
        return None
    look = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    look.add_argument(verb.goes_on, dest="folder", nargs="?")
    folder = look.parse_known_args(arguments)[0].folder
    path = Path(folder or "") / "config.json"
    return path if folder and path.is_file() else None


def overview_text() -> str:
    """``electra --help``."""
    verbs = "\n".join(f"  {name:<10} {verb.about}" for name, verb in VERBS.items())
    examples = "\n".join(f"  {verb.example}" for verb in VERBS.values())
    return (
        "electra: from raw text to a pre-trained encoder that anyone can load\n\n"
        f"commands:\n{verbs}\n\nas typed:\n{examples}\n\n"
        "electra COMMAND --help shows every setting with its default. Settings come in layers: a preset (of\n"
        "pretrain), then --config FILE, then flags; --print-config shows the result. --optimizer.kind muon and\n"
        "the like exchange a part for another kind."
    )


def help_text(verb: Verb, config_class: type) -> str:
    """What stands above the flags in a verb's ``--help``."""
    from electra import recipes

    preset = (
        f"--preset NAME: one of {', '.join(recipes.list_presets())} (default: {verb.preset}).\n\n"
        if verb.preset
        else ""
    )
    return (
        f"{inspect.cleandoc(config_class.__doc__ or '')}\n\nExample: {verb.example}\n\n{preset}"
        "--config FILE: YAML, TOML or JSON, laid under the flags.\n\n"
        "--print-config: print all settings as YAML and stop."
    )
