"""What the product gives today, in numbers and words: whoever moves its parts about holds them to it.

    python tests/goldens.py      # write tests/goldens/ anew, where a change is meant

Losses are compared within rounding, which differs from processor to processor; all else is compared as it is.
"""

import contextlib
import hashlib
import io
import json
import random
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from compositions import EVERY, build, objective
from electra import cli, recipes
from electra.corpus.prepare import PrepareConfig, prepare
from electra.dataset.layout import Packed, Paper
from electra.dataset.rows import Rows
from electra.dataset.shards import Shards
from electra.engine.optim import AdamW, LinearDecay, collect_parameters
from electra.engine.parallel import Parallel
from electra.engine.scaling import StagePlan
from electra.engine.stages import Stage
from electra.engine.telemetry import SilentRecorder, read_metrics
from electra.engine.train import Engine, Loop
from electra.model.config import ClassicConfig, ModernConfig
from electra.workflows.bench.steps import RandomRows
from electra.workflows.export import ExportConfig, export
from electra.workflows.pretrain import pretrain
from electra.workflows.pretraining.config import Phase, PretrainConfig

FOLDER = Path(__file__).with_name("goldens")
STEPS, ROWS, LENGTH = 20, 4, 32
SMALL: dict[str, Any] = {"hidden_size": 32, "layers": 2, "heads": 2, "intermediate_size": 48, "max_positions": 64}
SIZES = {"classic": ClassicConfig(**SMALL, embedding_size=16), "modern": ModernConfig(**SMALL)}
MISTAKES = [  # commands, and files that they read
    ["pretrain", "--preset", "smal"], ["pretrain", "--presett", "small"], ["pretrain"], ["sitr"],
    ["pretrain", "--data", "nowhere", "--out", "run"], ["pretrain", "--config", "absent.yaml"],
    ["pretrain", "--config", "unknown.yaml"], ["pretrain", "--config", "kind.yaml"],
    ["pretrain", "--config", "list.yaml"],
    ["prepare"], ["prepare", "--data", "absent.txt", "--out", "data"],
    ["prepare", "--data", "text.txt", "--tokenizer", "absent", "--out", "data"],
    ["evaluate", "nowhere"], ["evaluate", "nowhere", "--task", "held-out"], ["finetune"],
    ["finetune", "nowhere", "--out", "ft"],
    ["finetune", "nowhere", "--task", "colla", "--data", "glue", "--out", "ft"], ["export", "nowhere", "--out", "hub"],
    ["inspect", "nowhere", "a text"], ["compare"], ["plan", "--preset", "none"], ["bench", "--length", "9999"],
    ["data", "nowhere"],
]  # fmt: skip
FILES = {
    "unknown.yaml": "objective: {mask_rat: 0.2}\n", "kind.yaml": "optimizer: {kind: adam}\n", "list.yaml": "- 1\n",
    "text.txt": "a text\n",
}  # fmt: skip


def losses(kind: str, encoder: str) -> dict[str, list[float]]:
    """The figures of ``STEPS`` steps of an objective on made-up rows: figure → its value at each step."""
    torch.manual_seed(0)
    module = build(objective(kind, encoder), encoder)
    source = RandomRows(module.encoder.config.vocab_size, LENGTH)
    parameters = collect_parameters(module, module.towers(), module.rates, module.apart)
    stage = Stage(module, parameters, source, STEPS, ROWS, ROWS * LENGTH, 1)
    engine = Engine(compile="never", precision="float32")
    parallel = Parallel(0, 1, torch.device("cpu"))
    plan = StagePlan.of([stage], LinearDecay(warmup=5))
    loop = Loop(plan, AdamW(learning_rate=1e-3), engine, parallel, None, SilentRecorder())
    found: dict[str, list[float]] = {}
    for _ in range(STEPS):
        loop.sums = {}
        loop.step()
        for name, value in module.figures(loop.sums).items():
            if name.endswith("/loss"):
                found.setdefault(name, []).append(value)
    return found


def prepared(folder: Path) -> Path:
    """Prepared data of made-up sentences, whose word pieces are their words."""
    draw = random.Random(0)
    words = [f"w{number}" for number in range(60)]
    sentences = [" ".join(draw.choices(words, k=draw.randrange(3, 30))) for _ in range(400)]
    texts = ["\n".join(sentences[at : at + 5]) for at in range(0, 400, 5)]
    (folder / "text.txt").write_text("\n\n".join(texts), encoding="utf-8")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "vocab.txt").write_text("\n".join([*special, *words]), encoding="utf-8")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        prepare(
            PrepareConfig(
                data=(str(folder / "text.txt"),), tokenizer=str(folder / "tokenizer"), out=str(folder / "data"),
                held_out=0.1, workers=1,
            )
        )  # fmt: skip
    return folder / "data"


def batches(data: Path) -> dict[str, str]:
    """The hash of the first rows of each layout, length and epoch."""
    found = {}
    for split in ("train", "held-out"):
        for layout in (Paper(), Packed()):
            for length in (32, 128):
                rows = Rows(Shards.open(data, split), layout, length, 1)
                for start in (rows.start, replace(rows.start, epoch=3)):
                    refs, after = rows.take(start, 8)
                    digest = hashlib.sha256(repr((refs, after)).encode())
                    for name, value in rows.batch(refs).tensors().items():
                        digest.update(name.encode() + value.contiguous().numpy().tobytes())
                    found[f"{split}, {layout.kind}, {length}, epoch {start.epoch}"] = digest.hexdigest()
    return found


def exports(data: Path, folder: Path) -> dict[str, Any]:
    """Runs of both encoders: the keys of their metrics, the files they leave, and what is in their exports."""
    found: dict[str, Any] = {}
    for name, encoder in SIZES.items():
        out, hub = folder / name, folder / f"{name}-hub"
        config = PretrainConfig(
            data=str(data), out=str(out), encoder=encoder, objective=objective("electra", name), layout=Packed(),
            phases=(Phase(steps=4, length=32, rows=4),), held_out_rows=8,
            engine=Engine(compile="never", precision="float32", log_every=2, evaluate_every=2, save_every=2),
        )  # fmt: skip
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            pretrain(config)
            export(ExportConfig(run=str(out), out=str(hub)))
        lines = read_metrics(out / "metrics.jsonl")
        found[name] = {
            "metrics": {split: sorted({key for line in lines if line["split"] == split for key in line})
                        for split in ("train", "held-out")},
            "run": files(out), "export": files(hub),
            "tensors": {str(path.relative_to(folder)): shapes(path) for path in sorted(hub.rglob("*.safetensors"))},
            "configs": {str(path.relative_to(folder)): described(path) for path in sorted(hub.rglob("config.json"))},
        }  # fmt: skip
    return found


def described(path: Path) -> dict[str, Any]:
    """A model's config, whatever version of transformers wrote it."""
    return {key: value for key, value in json.loads(path.read_text()).items() if key != "transformers_version"}


def files(folder: Path) -> list[str]:
    """Every file below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def shapes(path: Path) -> dict[str, list[int]]:
    """By tensor of a safetensors file."""
    return {name: list(value.shape) for name, value in load_file(path).items()}


def configs() -> dict[str, str]:
    """``--print-config`` of every preset."""
    return {name: spoken(["pretrain", "--preset", name, "--print-config"])[0] for name in recipes.list_presets()}


def helps() -> dict[str, str]:
    """``--help`` of every verb."""
    return {"": spoken(["--help"])[0]} | {name: spoken([name, "--help"])[0] for name in sorted(cli.VERBS)}


def errors(folder: Path) -> dict[str, str]:
    """What is said to each mistake, and with which exit code."""
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    found = {}
    with contextlib.chdir(folder):
        for arguments in MISTAKES:
            out, err, code = spoken(arguments)
            found[" ".join(arguments)] = f"{code}: {out}{err}"
    return found


def spoken(arguments: list[str]) -> tuple[str, str, int]:
    """What a command prints on standard output and error, and its exit code; in lines of 200 characters."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            code = cli.main(arguments)
        except SystemExit as end:  # argparse's way of printing help
            code = int(end.code or 0)
    return out.getvalue(), err.getvalue(), code


def every_losses() -> dict[str, Any]:
    """Of every objective with both encoders."""
    return {f"{kind}-{encoder}": losses(kind, encoder) for kind, encoder in EVERY}


def in_folder(measure: Callable[[Path], Any]) -> Any:
    """What it gives for a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        return measure(Path(folder))


GOLDENS: dict[str, Callable[[], Any]] = {
    "losses": every_losses,
    "batches": lambda: in_folder(lambda folder: batches(prepared(folder))),
    "exports": lambda: in_folder(lambda folder: exports(prepared(folder), folder)),
    "configs": configs,
    "helps": helps,
    "errors": lambda: in_folder(errors),
}


def main() -> None:
    """Write them."""
    FOLDER.mkdir(exist_ok=True)
    for name in sys.argv[1:] or GOLDENS:
        content = json.dumps(GOLDENS[name](), indent=1, ensure_ascii=False)
        (FOLDER / f"{name}.json").write_text(content + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
