"""The runs of ``electra finetune``: resumed, on two processes, stopped early, swept over rates, and without success."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from electra.engine.optim import AdamW
from electra.engine.parallel import Parallel
from electra.engine.telemetry import read_metrics
from electra.engine.train import Engine
from electra.errors import UserError
from electra.run_folder import hold_folder
from electra.tasks.catalogue import load_problems
from electra.tasks.datasets.labelled import Columns
from electra.tasks.finetuning.problem import FineTuning
from electra.tasks.finetuning.run import FineTuningRun, RunSettings
from electra.tokenization.loading import load_tokenizer
from electra.workflows.exporting.facts import describe_finetuning
from electra.workflows.finetune import FinetuneConfig, finetune
from electra.workflows.status import StatusConfig, status
from finetuning import CLASSIC, TUNING, config, exported, result, write_csv
from processes import run_two


def test_it_goes_on_where_it_stopped_and_finished_runs_are_kept(
    classic: Path, tmp_path: Path, files: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    from electra.engine import train as engine

    settings = Engine(compile="never", evaluate_every=0, save_every=20, keep=1, log_every=5)
    whole = finetune(config(classic, tmp_path / "whole", files, engine=settings, tuning=replace(TUNING, epochs=2)))
    step, calls = engine.Loop.step, []

    def stopped(loop: engine.Loop, stop: bool = False) -> None:
        calls.append(1)
        if len(calls) == 33:
            raise KeyboardInterrupt
        step(loop, stop)

    asked = config(classic, tmp_path / "parts", files, engine=settings, tuning=replace(TUNING, epochs=2))
    monkeypatch.setattr(engine.Loop, "step", stopped)
    with pytest.raises(KeyboardInterrupt):
        finetune(asked)
    with pytest.raises(UserError, match=r"seed-1: holds a run of other settings \(settings\)"):
        finetune(replace(asked, tuning=replace(TUNING, epochs=2, rows=4)))
    shorter = write_csv(tmp_path / "train.csv", [{"body": "w1 alpha", "topic": "yes"}, {"body": "w1", "topic": "no"}])
    with pytest.raises(UserError, match=r"seed-1: holds a run of other data \(train\)"):
        finetune(replace(asked, train=shorter))
    assert not (tmp_path / "parts" / "train" / "seed-1" / "result.json").exists()
    parts = finetune(asked)
    assert result(tmp_path / "parts") == result(tmp_path / "whole") and len(calls) == 33 + 40
    for folder in ("parts", "whole"):
        assert json.loads((tmp_path / folder / "train" / "seed-1" / "predictions.json").read_text()) == json.loads(
            (tmp_path / "whole" / "train" / "seed-1" / "predictions.json").read_text()
        )
    assert finetune(asked) == parts and len(calls) == 73, "finished runs are not run again"
    assert whole["train"]["figures"]["dev/accuracy"]["median"] == parts["train"]["figures"]["dev/accuracy"]["median"]
    with pytest.raises(UserError, match=r"seed-1: holds a run of other settings \(settings\); choose another --out"):
        finetune(replace(asked, tuning=replace(TUNING, epochs=3)))


def test_two_processes_give_the_loss_of_one(tokens: Path, tmp_path: Path, files: dict) -> None:
    dropping = exported(tmp_path / "model", replace(CLASSIC, dropout=0.1, attention_dropout=0.1), tokens)
    settings = Engine(compile="never", precision="float32", log_every=1, evaluate_every=15, save_every=0)
    tuning = replace(TUNING, epochs=1, dropout=0.1)
    one = config(dropping, tmp_path / "one", files, engine=settings, tuning=tuning, patience=5)
    finetune(one)
    code = f"""
from electra.workflows.finetune import *
from electra.engine.optim import *
from electra.tasks.datasets.labelled import Columns
from electra.tasks.finetuning.run import FineTuningRun
finetune({replace(one, out=str(tmp_path / "two"))!r})
"""
    run_two(code)
    first, second = (
        [line["loss"] for line in read_metrics(tmp_path / out / "train" / "seed-1" / "metrics.jsonl") if "loss" in line]
        for out in ("one", "two")
    )
    assert len(first) == 30 and first == pytest.approx(second, rel=1e-3)
    assert result(tmp_path / "one") == result(tmp_path / "two")


@pytest.mark.parametrize("head", ["paper", "transformers"])
def test_an_encoder_of_transformers_goes_on_exactly_where_it_stopped(
    head: str, bert: Path, tmp_path: Path, files: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seed draws its new head. Its dropout comes from torch's generator, whose history a resume does not know."""
    from electra.engine import train as engine

    settings = Engine(compile="never", precision="float32", evaluate_every=0, save_every=3, keep=1, log_every=1)
    tuning = replace(TUNING, head=head, epochs=6 * TUNING.rows / 240, dropout=0.1)
    whole, parts = (
        config(bert, tmp_path / out, files, engine=settings, tuning=tuning, seeds=1) for out in ("whole", "parts")
    )
    finetune(whole)
    step, calls = engine.Loop.step, []

    def stopped(loop: engine.Loop, stop: bool = False) -> None:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        step(loop, stop)

    monkeypatch.setattr(engine.Loop, "step", stopped)
    with pytest.raises(KeyboardInterrupt):
        finetune(parts)
    torch.manual_seed(1234)
    finetune(parts)
    assert len(calls) == 4 + 3
    one, other = (
        load_file(tmp_path / out / "train" / "seed-1" / "model" / "model.safetensors") for out in ("whole", "parts")
    )
    assert one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def test_two_processes_with_an_encoder_of_transformers_draw_each_their_own(bert: Path) -> None:
    """They read the same text, as different examples."""
    run_two(f"""
import torch
from pathlib import Path
from electra.engine.parallel import Parallel
from electra.interchange.encoders import load_encoder
from electra.tasks.finetuning.examples import Example, ExampleSource
from electra.tasks.finetuning.problem import FineTuned

class Sum(torch.nn.Module):
    def loss(self, states, batch, keys):
        return states[-1].square().sum(1).amax()

parallel = Parallel.start()
reader, _ = load_encoder(Path({str(bert)!r}))
net = FineTuned(reader, Sum(), seed=1)
source = ExampleSource([Example([2, 7, 9, 11, 3], [0] * 5, None)] * 8, lambda examples, length: ({{}}, 1), 0, 8, 1)
refs, _ = source.take(source.start, 8)
(mine,) = parallel.share(refs, 0)
found = {{}}
for dropout in (True, True, False):
    total = torch.zeros(2)
    loss, _ = net(source.batch(mine), {{"task": torch.tensor(1.0)}}, dropout, torch.tensor(0.0))
    total[parallel.rank] = loss.detach()
    found.setdefault(dropout, []).append(parallel.sum({{"": total}})[""])
assert torch.equal(found[True][0], found[True][1]), "the same again"
assert abs(found[True][0][0] - found[True][0][1]) > 0.01, "each its own"
assert torch.equal(*found[False][0]), "by dropout alone"
""")


def test_two_processes_tune_encoders_of_transformers(tokens: Path, bert: Path, tmp_path: Path, files: dict) -> None:
    """Their poolers read states that nobody asks them for: no gradient is waited for, and their weights are kept. The
    second process sees none of the first one's files, not even when the command is given again."""
    shape = transformers.RobertaConfig(
        vocab_size=120, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=50,
    )  # fmt: skip
    transformers.RobertaModel(shape).save_pretrained(tmp_path / "model")
    load_tokenizer(tokens).save(tmp_path / "model")
    models = {"bert": bert, "roberta": tmp_path / "model"}
    settings = Engine(compile="never", precision="float32", log_every=1, evaluate_every=2, save_every=0)
    asked = config(bert, tmp_path, files, engine=settings, tuning=replace(TUNING, head="paper", epochs=0.2), patience=1)
    run_two(
        f"""
from electra.workflows.finetune import *
from electra.engine.optim import *
from electra.engine.parallel import Parallel
from electra.tasks.datasets.labelled import Columns
from electra.tasks.finetuning.run import FineTuningRun
parallel = Parallel.start()
asked = {asked!r}
for name, model in {[(name, str(model)) for name, model in models.items()]}:
    for _ in range(2):
        finetune(replace(asked, model=model, out=f"{{asked.out}}/{{parallel.rank}}/{{name}}"))
"""
    )
    assert not (tmp_path / "1").exists()
    for name, model in models.items():
        tuned = tmp_path / "0" / name / "train" / "seed-1"
        assert json.loads((tuned / "result.json").read_text())["dev"]
        before, after = (load_file(folder / "model.safetensors") for folder in (model, tuned / "model"))
        poolers = [each for each in before if each.startswith("pooler.")]
        assert poolers and all(torch.equal(before[each], after[each]) for each in poolers)
        moved = [each for each in before if not torch.equal(before[each], after[each])]
        assert len(moved) > len(before) - len(poolers) - 5


def test_patience_stops_and_takes_the_best(
    classic: Path, tmp_path: Path, files: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is stopped between its early end and its result stays at that end: it is judged and written."""
    asked = config(classic, tmp_path, files, tuning=replace(TUNING, epochs=30), patience=2)
    with monkeypatch.context() as patch:
        patch.setattr(FineTuningRun, "write", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            finetune(asked)
    lines = read_metrics(tmp_path / "train" / "seed-1" / "metrics.jsonl")
    history = [line["accuracy"] for line in lines if line["split"] == "held-out"]
    assert len(history) == history.index(max(history)) + 1 + 2 < 30
    finetune(asked)
    assert read_metrics(tmp_path / "train" / "seed-1" / "metrics.jsonl") == lines
    assert result(tmp_path)["dev"]["accuracy"] == pytest.approx(max(history))


def test_a_sweep_names_the_best_rate(classic: Path, tmp_path: Path, files: dict, capsys: pytest.CaptureFixture) -> None:
    found = finetune(config(classic, tmp_path, files, sweep=(1e-7, 5e-3), tuning=replace(TUNING, epochs=4)))
    assert found["train"]["rate"] == "rate-0.005" and "rate-1e-07" in capsys.readouterr().out
    slow, best = (tmp_path / "train" / rate / "seed-1" for rate in ("rate-1e-07", "rate-0.005"))
    cards = [" ".join(describe_finetuning(seed).split()) for seed in (slow, best)]
    for seed, card, rate in zip((slow, best), cards, ("1e-07", "0.005"), strict=True):
        accuracy = json.loads((seed / "result.json").read_text())["dev"]["accuracy"]
        assert f"learning rate {rate}" in card and "| epochs | 4 |" in card and "auto" not in card.split("## Config")[0]
        assert f"| dev/accuracy | {accuracy:.4f} | {accuracy:.4f} | {accuracy:.4f} |" in card, "of its own rate"
    assert "Another one, rate-0.005/seed-1, is the best of 2 runs on dev." in cards[0]
    assert "It is the best of 2 runs on dev." in cards[1]


def test_a_card_says_what_the_program_chose(classic: Path, tmp_path: Path, files: dict) -> None:
    """On one's own task epochs, head, pooling and learning rate are its choice. Older runs do not tell."""
    finetune(config(classic, tmp_path, files, tuning=FineTuning()))
    seed = tmp_path / "train" / "seed-1"
    chosen, card = json.loads((seed / "chosen.json").read_text()), " ".join(describe_finetuning(seed).split())
    tuning = chosen["tuning"]
    for value in (tuning["head"], f"{tuning['epochs']:.4g}", chosen["steps"], "transformers"):
        assert f"| {value} |" in card
    assert f"adamw, learning rate {tuning['optimizer']['learning_rate']:g}" in card and "of 1 runs" not in card
    (seed / "chosen.json").unlink()
    assert describe_finetuning(seed).count("chosen by the program") == 3


def test_runs_that_learned_nothing_are_named(classic: Path, tmp_path: Path, files: dict) -> None:
    slow = replace(TUNING, epochs=1, optimizer=AdamW(learning_rate=1e-12))
    found = finetune(config(classic, tmp_path, files, tuning=slow))
    (name,) = found["train"]["failed"] or [""]
    predictions = json.loads((tmp_path / "train" / "seed-1" / "predictions.json").read_text())["dev"]
    assert (len(set(predictions)) == 1) == name.endswith("train/seed-1")
    (told,) = status(StatusConfig((str(tmp_path),)))
    assert told.state == "finished" and told.step == told.steps and "loss" in told.figures["train"]
    assert told.figures["dev"] == json.loads((tmp_path / "train" / "seed-1" / "result.json").read_text())["dev"]


def test_a_run_that_another_process_makes_is_refused(classic: Path, tmp_path: Path, files: dict) -> None:
    out = tmp_path / "out"
    with hold_folder(out / "train" / "seed-1", "run of fine-tuning"):
        for _ in range(2):
            with pytest.raises(UserError, match=r"seed-1: process \d+ on \S+, since .* works there"):
                FineTuningRun(
                    load_problems(config(classic, out, files))[0][0], classic, RunSettings(), 1,
                    out / "train" / "seed-1", {},
                ).train_and_judge(Parallel.alone())  # fmt: skip
    assert not out.exists()


def test_nothing_but_its_own_is_replaced_or_removed(classic: Path, tmp_path: Path, files: dict) -> None:
    one = replace(TUNING, epochs=1)
    for name, file in (("a", "submission.zip"), ("b", "train/summary.json"), ("c", "train/seed-1/metrics.jsonl")):
        path = tmp_path / name / file
        path.parent.mkdir(parents=True)
        path.write_text("mine")
        with pytest.raises(UserError, match="is there already, and no folder of fine-tunings"):
            finetune(config(classic, tmp_path / name, files, tuning=one))
        assert [each for each in (tmp_path / name).rglob("*") if each.is_file()] == [path]
        assert path.read_text() == "mine"
    asked = config(classic, tmp_path / "out", files, tuning=one)
    finetune(asked)
    run = tmp_path / "out" / "train" / "seed-1"
    (run / "result.json").unlink()
    shutil.rmtree(run / "model")
    stray = run / "checkpoints" / "step-final" / "weights"
    stray.parent.mkdir(parents=True)
    stray.write_text("mine")
    finetune(asked)
    assert stray.read_text() == "mine" and (run / "result.json").is_file()
    assert [path.name for path in stray.parent.parent.iterdir()] == ["step-final"]


def quick(model: Path, out: Path, files: dict, **changes: object) -> FinetuneConfig:
    """A run of few steps."""
    return config(model, out, files, tuning=replace(TUNING, epochs=1), **changes)


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    """When every file below a folder was written, and what it holds."""
    return {str(f): (f.stat().st_mtime_ns, f.read_bytes()) for f in sorted(folder.rglob("*")) if f.is_file()}


def altered(file: str, to: Path, change: Callable[[list[dict]], None]) -> str:
    """A copy of a table under the same name in another folder, with a change to its rows."""
    with open(file, newline="") as opened:
        rows = list(csv.DictReader(opened))
    change(rows)
    to.mkdir(exist_ok=True)
    return write_csv(to / Path(file).name, rows)


def swap_labels(rows: list[dict]) -> None:
    one, other = (next(row for row in rows if row["topic"] == topic) for topic in ("yes", "no"))
    one["topic"], other["topic"] = other["topic"], one["topic"]


def rename_a_class(rows: list[dict]) -> None:
    for row in rows:
        row["topic"] = {"yes": "zes"}.get(row["topic"], row["topic"])


@pytest.mark.parametrize(
    ("split", "change", "named"),
    [
        ("train", swap_labels, "train"),
        ("train", lambda rows: rows.reverse(), "train"),
        ("dev", swap_labels, "dev"),
        ("dev", lambda rows: rows[0].update(body="w1 omega"), "dev"),
        ("test", lambda rows: rows.reverse(), "test"),
        ("train dev", rename_a_class, "labels"),
    ],
    ids=["train's labels", "train's order", "dev's labels", "a text of dev", "test's order", "a class's name"],
)
def test_figures_of_other_data_are_never_printed(
    classic: Path, tmp_path: Path, files: dict, split: str, change: Callable, named: str, capsys: pytest.CaptureFixture
) -> None:
    finetune(quick(classic, tmp_path / "ft", files))
    before = everything(tmp_path / "ft")
    capsys.readouterr()
    other = files | {name: altered(files[name], tmp_path / "other", change) for name in split.split()}
    with pytest.raises(UserError, match=rf"seed-1: holds a run of other data \({named}\); choose another --out"):
        finetune(quick(classic, tmp_path / "ft", other))
    assert everything(tmp_path / "ft") == before and not capsys.readouterr().out


def test_folds_under_one_out_are_two_runs(classic: Path, tmp_path: Path, shared: Path) -> None:
    folds = shared / "cases" / "folds_same_out"
    if not folds.is_dir():
        pytest.skip(f"needs the folds, which are not at {folds}")
    asked = [
        quick(classic, tmp_path, {split: str(folds / fold / f"{split}.csv") for split in ("train", "dev")})
        for fold in ("fold1", "fold2")
    ]
    first, second = (replace(each, columns=Columns()) for each in asked)
    finetune(first)
    with pytest.raises(UserError, match=r"holds a run of other data \(.*dev"):
        finetune(second)


def test_another_model_under_the_same_name_is_another_run(tokens: Path, tmp_path: Path, files: dict) -> None:
    finetune(quick(exported(tmp_path / "model", CLASSIC, tokens), tmp_path / "ft", files))
    weights = tmp_path / "model" / "model.safetensors"
    tensors = load_file(weights)
    next(iter(tensors.values())).view(-1)[0] += 1
    save_file(tensors, weights, {"format": "pt"})
    with pytest.raises(UserError, match=r"seed-1: holds a run of another model than \S*/model holds now; choose"):
        finetune(quick(tmp_path / "model", tmp_path / "ft", files))


def test_a_name_is_no_part_of_what_a_run_comes_from(
    classic: Path, tmp_path: Path, files: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = quick(classic, tmp_path / "ft", files)
    finetune(asked)
    before = everything(tmp_path / "ft" / "train" / "seed-1")
    shutil.copytree(classic, tmp_path / "copied" / "elsewhere")
    moved = {name: str(shutil.copy(file, tmp_path / f"{name}.csv")) for name, file in files.items()}
    monkeypatch.chdir(tmp_path)
    oftener = replace(asked.engine, log_every=7, save_every=9)
    for same in (
        replace(asked, model=f"{classic}/"),
        replace(asked, model=f"{classic.parent}/../{classic.parent.name}/{classic.name}"),
        replace(asked, model="copied/elsewhere", out="./ft/"),
        replace(asked, **moved, engine=oftener),
    ):
        finetune(same)
    after = everything(tmp_path / "ft" / "train" / "seed-1")
    drawn = str(tmp_path / "ft" / "train" / "seed-1" / "curves.png")
    assert {**after, drawn: 0} == {**before, drawn: 0}


def test_a_run_that_does_not_say_what_it_came_from_is_not_trusted(classic: Path, tmp_path: Path, files: dict) -> None:
    asked = quick(classic, tmp_path, files)
    finetune(asked)
    path = tmp_path / "train" / "seed-1" / "config.json"
    said = json.loads(path.read_text())
    del said["contents"]
    path.write_text(json.dumps(said))
    with pytest.raises(UserError, match="seed-1: holds a run of an earlier version, .*; choose another --out"):
        finetune(asked)
    path.unlink()
    with pytest.raises(UserError, match="seed-1: holds a run of an earlier version"):
        finetune(asked)


def test_nothing_is_run_where_a_later_seed_cannot_be(classic: Path, tmp_path: Path, files: dict) -> None:
    finetune(quick(classic, tmp_path, files, seeds=2))
    shutil.rmtree(tmp_path / "train" / "seed-1")
    other = files | {"dev": altered(files["dev"], tmp_path / "other", swap_labels)}
    with pytest.raises(UserError, match="seed-2: holds a run of other data"):
        finetune(quick(classic, tmp_path, other, seeds=2))
    assert not (tmp_path / "train" / "seed-1").exists()


@pytest.mark.parametrize("name", ["../..", "..", "a/b", "/dev/null/x", ".hidden", "a\\b", "a\nb", "x" * 201])
def test_a_name_that_is_a_path_is_refused(classic: Path, tmp_path: Path, files: dict, name: str) -> None:
    (tmp_path / "inside").mkdir()
    with pytest.raises(UserError, match="--name .*: becomes a folder's name"):
        finetune(quick(classic, tmp_path / "inside" / "ft", files, name=name))
    assert not list((tmp_path / "inside").iterdir())


def test_a_file_that_gives_no_name_needs_one(classic: Path, tmp_path: Path, files: dict) -> None:
    nameless = files | {"train": str(shutil.copy(files["train"], tmp_path / ".csv"))}
    with pytest.raises(UserError, match=r"--name is missing; \S*/\.csv gives ''"):
        finetune(quick(classic, tmp_path / "ft", nameless))
