"""The command line: ``electra VERB …`` calls the function of that name with a config made of the arguments.

Only the verb that is called is imported: ``electra --help`` needs no torch.
"""

import argparse
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import electra
from electra.errors import UserError
from electra.stopping import UNFINISHED, Ending, Stopped, raise_stop_signals

INTERRUPTED = 130  # 128 + SIGINT, as shells count
PIPE_CLOSED = 141  # 128 + SIGPIPE
MISTAKE = 2


@dataclass(frozen=True)
class Verb:
    """A verb: what it does, and the name of its config class. Its function is the public one of the verb's name, or the
    one named by ``function`` where Python has the verb's name for itself.

    ``positional``: the fields that are given without a flag. ``preset``: the recipe that is the lowest layer of the
    config, for a verb that has presets. ``goes_on``: the flag that names a folder; its config.json, if there is one, is
    the lowest layer instead. ``branches_off``: the flag that names a run's checkpoint; the run's config is, where there
    is no other. ``begins_with``: the flag that names a folder whose model's shape is laid over the preset.
    ``runs``: of a verb that saves where it is when it is stopped, "module:function" that is called instead: the same,
    but that it gives an ``Ending``.
    """

    about: str
    config: str
    example: str
    positional: tuple[str, ...] = ()
    preset: str = ""
    goes_on: str = ""
    function: str = ""
    begins_with: str = ""
    branches_off: str = ""
    runs: str = ""


VERBS = {
    "demo": Verb(
        "the built-in corpus, the whole chain in minutes",
        "DemoConfig",
        "electra demo --minutes 8",
        runs="electra.workflows.demo.demo:run_demo",
    ),
    "tokenizer": Verb(
        "train a vocabulary on text: WordPiece, byte-level BPE or Unigram",
        "TokenizerConfig",
        'electra tokenizer --data "corpus/*.txt" --vocab-size 30522 --out tok/',
    ),
    "prepare": Verb(
        "text of any kind and size to memory-mapped tokens, with a held-out split",
        "PrepareConfig",
        'electra prepare --data "corpus/*.jsonl.gz" --tokenizer tok/ --out data/',
    ),
    "data": Verb(
        "what is in prepared data, whether it is undamaged, how it reads",
        "DataConfig",
        "electra data data/ --verify",
        positional=("data",),
    ),
    "pretrain": Verb(
        "train generator and discriminator; the same --out goes on where it stopped",
        "PretrainConfig",
        "electra pretrain --preset small --data data/ --out runs/s1 --tokens 2e9",
        preset="small",
        goes_on="--out",
        begins_with="--init",
        branches_off="--from",
        runs="electra.workflows.pretrain:run_pretraining",
    ),
    "status": Verb(
        "where runs are, how fast, how well, and whether they are alive; --watch goes on",
        "StatusConfig",
        "electra status runs/s1 runs/s2 --watch",
        positional=("runs",),
    ),
    "evaluate": Verb(
        "what encoders know, side by side: held-out text, minimal pairs, probes",
        "EvaluateConfig",
        "electra evaluate runs/s1 --task held-out",
        positional=("models",),
    ),
    "finetune": Verb(
        "an encoder on GLUE, SQuAD, tagging or a task of your own, several seeds",
        "FinetuneConfig",
        "electra finetune runs/s1 --task cola --data glue/CoLA --out ft/ --seeds 5",
        positional=("model",),
        runs="electra.workflows.finetune:run_finetuning",
    ),
    "compare": Verb(
        "objectives at equal cost: tables and figures of what their encoders are worth",
        "CompareConfig",
        "electra compare --objectives electra mlm --data data/ --budgets 1e13 1e14 --out cmp/",
        goes_on="--out",
        runs="electra.workflows.compare.compare:run_comparison",
    ),
    "inspect": Verb(
        "which tokens of a text look replaced",
        "InspectConfig",
        'electra inspect runs/s1 "the chef ate the meal"',
        positional=("run", "texts"),
    ),
    "score": Verb(
        "how good each line of a file is: pseudo-log-likelihood or energy, for re-ranking",
        "ScoreConfig",
        "electra score runs/s1 hypotheses.txt --out scores.jsonl",
        positional=("model", "file"),
    ),
    "detect": Verb(
        "which words of each line of a file look replaced: proof-reading, filtering",
        "DetectConfig",
        "electra detect runs/s1 corpus.txt.gz --out words.jsonl",
        positional=("model", "file"),
    ),
    "report": Verb(
        "runs and what was measured of them as one page: curves, settings, tables, tokens",
        "ReportConfig",
        "electra report runs/s1 runs/s2 ft/ pairs.json --out report.html",
        positional=("runs",),
        function="write_report",
    ),
    "export": Verb(
        "a run's towers, or a fine-tuned model, as other programs load them",
        "ExportConfig",
        "electra export runs/s1 --format hf --out hub/",
        positional=("run",),
    ),
    "import": Verb(
        "a TensorFlow checkpoint of the original code, as folders to go on from",
        "ImportConfig",
        "electra import electra_small/ --out start/",
        positional=("checkpoint",),
        function="import_checkpoint",
    ),
    "bench": Verb(
        "tokens a second, where a step's time goes, and memory on this machine",
        "BenchConfig",
        "electra bench --preset small --against transformers",
    ),
    "plan": Verb(
        "how long a preset takes on this machine, in how much memory, at what cost",
        "PlanConfig",
        "electra plan --preset base --tokens 100e9 --price 2.5",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Its exit code: 0; 2 for a mistake of the user's; 75 if it was stopped before its end and the
    same command goes on; 130 after Ctrl-C otherwise; 141 if nobody reads on."""
    try:
        finished = run_command(list(sys.argv[1:] if arguments is None else arguments))
        if sys.stdout:  # None where it was closed
            sys.stdout.flush()
    except UserError as error:
        print(f"electra: error: {error}", file=sys.stderr)
        return MISTAKE
    except Stopped:
        print("electra: stopped; the same command goes on", file=sys.stderr)
        return UNFINISHED
    except KeyboardInterrupt:
        print("electra: stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the flush at exit stays quiet
        return PIPE_CLOSED
    return 0 if finished else UNFINISHED


def run_command(arguments: list[str]) -> bool:
    """Call the verb that the arguments begin with, or print its config or the help. False if it was stopped and the
    same command goes on.

    Raises:
        UserError: no such verb, a wrong setting, and whatever the verb raises.
        Stopped: as ``run_to_stop``.
    """
    from electra.config import suggest_closest

    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview_text())
        return True
    if arguments[0] == "--version":
        print(electra.__version__)
        return True
    name, *rest = arguments
    if name not in VERBS:
        raise UserError(f"unknown command {name}{suggest_closest(name, VERBS) or '; electra --help lists them'}")
    verb = VERBS[name]
    function, config, print_only = resolve_command(name, verb, rest)
    if print_only:
        from electra.config import dump_config

        print(dump_config(config), end="")
    elif verb.runs:
        return run_to_stop(verb.runs, config)
    else:
        function(config)
    return True


def run_to_stop(function: str, config: Any) -> bool:
    """Call a ``Verb.runs``; whether its work is finished. Raises ``Stopped`` for a signal where it cannot save."""
    module, _, name = function.partition(":")
    run: Callable[[Any], Ending[object]] = getattr(import_module(module), name)
    with raise_stop_signals():
        return run(config).finished


def resolve_command(name: str, verb: Verb, arguments: list[str]) -> tuple[Callable[[Any], object], Any, bool]:
    """The verb's function, its config from all layers, and whether the config is only to be printed.

    Raises:
        UserError: a preset or file that is not there, or a wrong setting in a file or a flag.
        SystemExit: with code 0, after the verb's ``--help``.
    """
    from electra import config, flags, recipes

    common = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    actions = [common.add_argument("--config"), common.add_argument("--print-config", action="store_true")]
    if verb.preset:
        actions.append(common.add_argument("--preset"))
    try:
        options, rest = common.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise UserError(str(error)) from error
    preset = getattr(options, "preset", None)
    saved, checkpoint = find_saved_config(verb, arguments), find_checkpoint(verb, arguments)
    function, config_class = getattr(electra, verb.function or name), getattr(electra, verb.config)
    base = config_class()
    if saved and not (options.config or preset):
        base = config.load_config(base, saved)
    elif checkpoint and not preset:
        base = lay_run_beneath(checkpoint, options.config)
    else:
        if verb.preset:
            base = config.load_config(base, recipes.find_preset(preset or verb.preset))
        if verb.begins_with:
            base = lay_shape_over(base, verb, arguments, options.config)
        if options.config:
            base = config.load_config(base, options.config)
    taken = [action.option_strings[0] for action in actions]
    base = flags.parse_flags(base, rest, f"electra {name}", help_text(verb, config_class), verb.positional, taken)
    return function, base, options.print_config


def lay_shape_over(base: Any, verb: Verb, arguments: list[str], file: str | None) -> Any:
    """``base`` with the shape of the model in the folder that the verb's ``begins_with`` flag, or the file, names.

    Raises:
        UserError: no model there that can be read, or a file that cannot be.
    """
    from electra.config import read_config_file
    from electra.workflows.pretraining.starting import take_settings

    below = read_config_file(Path(file)) if file else {}
    init = find_value(verb.begins_with, arguments) or str(below.get("init") or "")
    if not init:
        return base
    objective = below.get("objective")
    kind = objective.get("kind") if isinstance(objective, dict) else None
    kind = find_value("--objective.kind", arguments) or kind or base.objective.kind
    return take_settings(base, init, str(kind), find_value(verb.goes_on, arguments) or str(below.get("out") or ""))


def find_value(flag: str, arguments: list[str]) -> str | None:
    """The word behind a flag, before the flags are read; None where there is none."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(flag, dest="value", nargs="?")
    return parser.parse_known_args(arguments)[0].value


def find_checkpoint(verb: Verb, arguments: list[str]) -> str | None:
    """The checkpoint that the verb's ``branches_off`` flag names; None where there is none."""
    return find_value(verb.branches_off, arguments) if verb.branches_off else None


def lay_run_beneath(checkpoint: str, file: str | None) -> Any:
    """The settings of the run that saved a checkpoint, with the file laid over them.

    Raises:
        UserError: no such checkpoint or file, or a wrong setting.
    """
    from electra.config import load_config
    from electra.workflows.pretraining.branching import take_run_settings

    base = take_run_settings(checkpoint)
    return load_config(base, file) if file else base


def find_saved_config(verb: Verb, arguments: list[str]) -> Path | None:
    """The config.json in the folder that the verb's ``goes_on`` flag names; None where there is none."""
    folder = find_value(verb.goes_on, arguments) if verb.goes_on else None
    path = Path(folder or "") / "config.json"
    return path if folder and os.path.isfile(path) else None  # pathlib's own raises for a name that is too long


def overview_text() -> str:
    """What ``electra --help`` prints: every verb with an example."""
    verbs = "\n".join(f"  {name:<10} {verb.about}" for name, verb in VERBS.items())
    examples = "\n".join(f"  {verb.example}" for verb in VERBS.values())
    return (
        "electra: from raw text to a pre-trained encoder that anyone can load\n\n"
        f"commands:\n{verbs}\n\nas typed:\n{examples}\n\n"
        "electra COMMAND --help shows every setting with its default. Settings come in layers: a preset (of\n"
        "pretrain), then --config FILE, then flags; --print-config shows the result. --optimizer.kind muon and\n"
        "the like exchange a part for another kind, which keeps what both have with the same default.\n\n"
        "Exit codes: 0 finished; 2 a mistake, told in one line; 75 stopped before the end, the same command goes on\n"
        "(pretrain, finetune, compare, demo after SIGTERM, SIGUSR1, one Ctrl-C or --stop-after); 130 Ctrl-C otherwise."
    )


def help_text(verb: Verb, config_class: type) -> str:
    """The text above the flags in a verb's ``--help``."""
    from electra import recipes

    preset = (
        f"--preset NAME: one of {', '.join(recipes.list_presets())} (default: {verb.preset}).\n\n"
        if verb.preset
        else ""
    )
    stops = (
        "Exit codes: 0 finished; 75 stopped before the end and saved (SIGTERM, SIGUSR1, one Ctrl-C, --stop-after where "
        "there is one), the same command goes on; 2 a mistake; 130 Ctrl-C twice, or before the first step.\n\n"
        if verb.runs
        else ""
    )
    return (
        f"{inspect.cleandoc(config_class.__doc__ or '')}\n\nExample: {verb.example}\n\n{preset}{stops}"
        "--config FILE: YAML, TOML or JSON, laid under the flags.\n\n"
        "--print-config: print all settings as YAML and stop."
    )
