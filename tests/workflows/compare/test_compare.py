"""Objectives set side by side, as a user does it: two tiny budgets, two seeds, a labelled file and minimal pairs."""

import json
import random
import shutil
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest

from electra import cli
from electra import config as configs
from electra.corpus.documents import Document
from electra.engine.optim import AdamW
from electra.errors import UserError
from electra.objectives.build import Electra, Electra15, Mlm
from electra.run_folder import hold_folder
from electra.stopping import Ending
from electra.tasks.datasets.labelled import Columns
from electra.tasks.finetuning.problem import FineTuning
from electra.workflows.compare import runs as compare_runs
from electra.workflows.compare import tasks as compare_tasks
from electra.workflows.compare.compare import compare, run_comparison
from electra.workflows.compare.objectives import load_base_config, parse_objective, parse_objectives
from electra.workflows.compare.plan import CompareConfig, plan_comparison
from electra.workflows.compare.runs import COUNTED, RANDOM

SETTINGS = """
encoder: {hidden_size: 32, layers: 2, heads: 2, intermediate_size: 64, embedding_size: 16, max_positions: 64}
objective: {mask_rate: 0.25}
schedule: {warmup: 100}
phases: [{length: 32, rows: 8}]
engine: {compile: never, log_every: 2, save_every: 3}
held_out_rows: 16
init_embeddings: counted
"""
WORDS = ["value", "name", "module", "class", "object", "string", "number", "list"]
BUDGETS = (2.5e8, 5e8)
TUNING = FineTuning(epochs=1, rows=16, length=16, optimizer=AdamW(learning_rate=1e-3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of settings, a labelled file and minimal pairs."""
    folder = tmp_path_factory.mktemp("compare")
    (folder / "settings.yaml").write_text(SETTINGS)
    rows = [f"{a} of a {b} {c},{'long' if len(a) > 5 else 'short'}" for a in WORDS for b in WORDS for c in WORDS[:3]]
    (folder / "mine.csv").write_text("\n".join(["body,topic", *rows]))
    pairs = [{"sentence_good": f"the {w} is here", "sentence_bad": f"the {w} are here", "UID": "number"} for w in WORDS]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    return folder


@pytest.fixture(scope="module")
def asked(prepared: Path, folder: Path) -> CompareConfig:
    return CompareConfig(
        preset="tiny", settings=str(folder / "settings.yaml"), data=str(prepared), out=str(folder / "out"),
        budgets=BUDGETS, tasks=(str(folder / "mine.csv"),), columns=Columns("body", label="topic"), tuning=TUNING,
        pairs=str(folder / "pairs.jsonl"), generator_sizes=(0.5, 1.0),
    )  # fmt: skip


@pytest.fixture(scope="module")
def out(asked: CompareConfig) -> Path:
    """Begun with one objective and seed, and then asked for all."""
    few = replace(asked, objectives=("mlm",), budgets=BUDGETS[:1], seeds=1, pairs="", generator_sizes=())
    out = compare(few)
    before = made(out)
    assert compare(asked) == out
    assert before.items() <= made(out).items(), "what was there is taken"
    return out


def made(out: Path) -> dict[str, int]:
    """Every file of the runs, with the time at which it was written."""
    return {
        str(path.relative_to(out)): path.stat().st_mtime_ns
        for place in ("runs", "random-weights", "counted-embeddings")
        for path in (out / place).rglob("*")
        if path.is_file()
    }


def results(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]


def figures(out: Path) -> list[dict]:
    """The results without what depends on the time."""
    timed = ("seconds", "tokens_per_second")
    return [each | {"cost": {k: v for k, v in each["cost"].items() if k not in timed}} for each in results(out)]


def test_all_is_there(out: Path, asked: CompareConfig) -> None:
    found = results(out)
    sized = [("electra, generator 1", BUDGETS[1])]
    trained = [(name, budget) for name in ("electra", "mlm") for budget in BUDGETS]
    wanted = [(RANDOM, 0.0), (COUNTED, 0.0), *trained, *sized]
    assert {(each["objective"], each["budget"], each["seed"]) for each in found} == {
        (*each, seed) for each in wanted for seed in (1, 2)
    }
    scores = {
        f"mine: {way}"
        for way in ("probe, all layers", "probe, best layer", "probe, last layer", "fine-tuned, accuracy")
    }
    for each in found:
        assert set(each["scores"]) == scores | {"minimal pairs"}
        assert all(0 <= score <= 1 for score in each["scores"].values())
        assert Path(each["folder"]).is_dir()
    electra, mlm = ([each for each in found if each["objective"] == name] for name in ("electra", "mlm"))
    assert all("discriminator/skill" in each["own"] for each in electra)
    assert all("generator/accuracy" in each["own"] for each in mlm)
    for name in ("scores.png", "generator_size.png"):
        assert (out / name).read_bytes()[:4] == b"\x89PNG"
    assert configs.load_config(CompareConfig(), out / "config.json") == asked
    assert json.loads((out / "environment.json").read_text())["packages"]["torch"]
    run = json.loads((out / "runs" / "electra" / "5e8-flops" / "seed-2" / "config.json").read_text())
    assert run["seed"] == 2 and run["flops"] == 5e8 and run["objective"]["generator_width"] == 0.5
    assert run["encoder"]["hidden_size"] == 32 and run["phases"][0]["length"] == 32
    said = (out / "table.md").read_text()
    for words in ("## 2.5e8 FLOPs", "## 5e8 FLOPs", f"| {RANDOM}", f"| {COUNTED}", "overtaken", "| generator 1 "):
        assert words in said, words
    assert "So far" not in said


def test_operations_are_equal_to_a_step(out: Path) -> None:
    for each in results(out):
        if each["budget"]:
            cost = each["cost"]
            assert abs(cost["flops"] - each["budget"]) <= cost["flops"] / cost["steps"], each["objective"]
            assert cost["steps"] > 2 and cost["tokens"] == cost["steps"] * 8 * 32
    tokens = {each["objective"]: each["cost"]["tokens"] for each in results(out) if each["budget"] == BUDGETS[1]}
    assert tokens["mlm"] > tokens["electra"] > tokens["electra, generator 1"], "a step costs more"


def test_seeds_differ_and_objectives_share_them(out: Path) -> None:
    losses = {
        (each["objective"], each["budget"], each["seed"]): each["own"]["generator/loss"]
        for each in results(out)
        if each["own"]
    }
    assert losses["mlm", 5e8, 1] != losses["mlm", 5e8, 2]


def test_again_computes_nothing_and_says_the_same(out: Path, capsys: pytest.CaptureFixture) -> None:
    before, table, found = made(out), (out / "table.md").read_text(), results(out)
    assert cli.main(["compare", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "0 of them to be made" in said and table in said and "== 1 of" not in said
    assert made(out) == before and (out / "table.md").read_text() == table and results(out) == found


def test_what_is_missing_is_made_again(out: Path, asked: CompareConfig, capsys: pytest.CaptureFixture) -> None:
    """A comparison that ended half-way, its pieces being what they are after a kill at any time."""
    before, times = figures(out), made(out)
    lost = out / "runs" / "electra" / "5e8-flops" / "seed-2"
    shutil.rmtree(lost)
    run = out / "runs" / "mlm" / "2.5e8-flops" / "seed-1"
    (run / "scores" / "tuned-mine.json").unlink()
    shutil.rmtree(run / "tuned")
    compare(asked)
    assert "2 of them to be made" in capsys.readouterr().out
    assert figures(out) == before
    same = [name for name in times if not name.startswith((str(lost.relative_to(out)), str(run.relative_to(out))))]
    assert {name: made(out)[name] for name in same} == {name: times[name] for name in same}


def test_a_signal_stops_it_and_the_same_command_goes_on(
    out: Path, asked: CompareConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    more, before = replace(asked, seeds=3), made(out)
    monkeypatch.setattr(compare_runs, "run_pretraining", lambda config: Ending(Path(config.out), finished=False))
    assert not run_comparison(more).finished
    said = capsys.readouterr().out
    assert "stopped; the same command goes on" in said and "So far: 16 of 21" in said
    assert before.items() <= made(out).items() and not (out / "runs" / "electra" / "2.5e8-flops" / "seed-3").exists()
    assert run_comparison(asked).finished
    assert "So far" not in (out / "table.md").read_text()


def test_another_way_is_refused(out: Path, asked: CompareConfig, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config.json: .*tuning.epochs: 1.0 there, 2.0 now"):
        compare(replace(asked, tuning=replace(TUNING, epochs=2.0)))
    with pytest.raises(UserError, match=r"seed-1/config.json: .*objective.mask_rate: 0.25 there, 0.3 now"):
        compare(replace(asked, objectives=("mlm", "electra: electra mask_rate=0.3")))
    other = tmp_path / "mine.csv"
    other.write_text((folder / "mine.csv").read_text() + "\na new one,long\n")
    with pytest.raises(UserError, match=r"scores/probe-mine.json: scored otherwise: task.train: \w+ there, \w+ now"):
        compare(replace(asked, tasks=(str(other),)))


def test_a_folder_that_another_process_compares_in_is_refused(tmp_path: Path) -> None:
    with (
        hold_folder(tmp_path / "out", "comparison"),
        pytest.raises(UserError, match=r"out: process \d+ on \S+, since .* works there"),
    ):
        compare(CompareConfig(data="data", out=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_scores_of_other_weights_are_not_taken(out: Path, asked: CompareConfig, tmp_path: Path) -> None:
    """An encoder that was trained anew in its place, or scored by a version that did not say which it was."""
    copied = tmp_path / "out"
    shutil.copytree(out, copied)
    respelled = replace(asked, out=str(copied), data=f"{asked.data}/.")
    before = figures(copied)
    encoder = copied / "random-weights" / "seed-1"
    weights, was = encoder / "model.safetensors", (encoder / "model.safetensors").read_bytes()
    weights.write_bytes(was[:-4] + b"\0\0\0\x01")
    with pytest.raises(UserError, match=r"seed-1/scores/\S+.json: scored otherwise: encoder: \w+ there, \w+ now"):
        compare(respelled)
    weights.write_bytes(was)
    compare(respelled)
    assert figures(copied) == [each | {"folder": each["folder"].replace(str(out), str(copied))} for each in before]
    scores = encoder / "scores" / "probe-mine.json"
    said = json.loads(scores.read_text())
    del said["asked"]["encoder"]
    scores.write_text(json.dumps(said))
    with pytest.raises(UserError, match="probe-mine.json: of an earlier version, .* choose another --out"):
        compare(respelled)


ERRORS = {
    "objectives": (
        {"objectives": ("elektra",)},
        "objective.kind: 'elektra'; one of electra, .*; did you mean electra?",
    ),
    "field": ({"objectives": ("electra generator_with=1",)}, "unknown key objective.generator_with; did you mean"),
    "value": ({"objectives": ("electra generator_width=wide",)}, "objective.generator_width: expected a number"),
    "words": ({"objectives": ("electra 0.5",)}, "'0.5': a setting is written field=value"),
    "nothing": ({"objectives": ("",)}, "objective.kind: ''"),
    "twice": ({"objectives": ("mlm", "mlm: electra")}, "two are called 'mlm'"),
    "no name": ({"objectives": ("../..: mlm",)}, "--objectives '../..: mlm': its name, as '': becomes a folder's name"),
    "towers": ({"objectives": ("fast-electra first=0",)}, "nobody trained it"),
    "data": ({"data": ""}, "--data is missing"),
    "no data": ({"data": "absent"}, "absent"),
    "out": ({"out": ""}, "--out is missing"),
    "preset": ({"preset": "tny"}, "--preset tny: there is none; .*did you mean tiny?"),
    "settings": ({"settings": "absent.yaml"}, "absent.yaml: No such file"),
    "task": ({"tasks": ("absent.csv",)}, "absent.csv: no such file"),
    "glue": ({"tasks": ("kola=glue",)}, "--task kola; did you mean cola?"),
    "pooling": (
        {"tuning": replace(TUNING, head="transformers", pooling="mean")},
        "--tuning.pooling mean: transformers' head for such an encoder cannot",
    ),
    "length": ({"tuning": replace(TUNING, length=65)}, "--tuning.length 65: the encoder reads 64 tokens at most"),
    "probe": ({"probes": ("absent.csv",)}, "absent.csv: no such file"),
    "no task": ({"tasks": (), "pairs": ""}, "nothing to judge the encoders by"),
    "pairs": ({"pairs": "absent"}, "absent: no .jsonl"),
    "little": ({"budgets": (1e6,)}, "--budgets 1e6: too little: the shortest run of electra takes"),
    "negative": ({"budgets": (-1.0,)}, r"budgets: expected a list of numbers above 0, found \(-1.0,\)"),
    "seeds": ({"tuning_seeds": 0}, "tuning_seeds: expected a whole number of at least 1, found 0"),
    "none": ({"budgets": ()}, "--budgets: at least one"),
    "sizes": ({"objectives": ("mlm",), "generator_sizes": (0.5,)}, "none of the objectives has a generator"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_mistakes_are_told_before_anything_is_made(asked: CompareConfig, tmp_path: Path, name: str) -> None:
    changes, said = ERRORS[name]
    with pytest.raises(UserError, match=said) as caught:
        compare(
            replace(asked, out=str(tmp_path / "new"), **changes) if "out" not in changes else replace(asked, out="")
        )
    assert "\n" not in str(caught.value) and not (tmp_path / "new").exists()


def test_time_may_be_what_is_equal(asked: CompareConfig, tmp_path: Path) -> None:
    minutes = replace(asked, out=str(tmp_path), equal="time", budgets=(90.0, 15.0), seeds=1, generator_sizes=())
    plan = plan_comparison(minutes)
    found = [(each.folder.relative_to(tmp_path), each.config.hours, each.config.flops) for each in plan.encoders[2:]]
    assert plan.unit == "minutes" and found == [
        (Path(f"runs/{name}/{budget}-minutes/seed-1"), budget / 60, 0.0)
        for budget in (15, 90)
        for name in ("electra", "mlm")
    ]


def test_objectives_differ_in_one_idea(asked: CompareConfig) -> None:
    """What two kinds share is the preset's; what a kind sets for itself, and what is said of it, is not."""
    base = load_base_config("tiny", asked.settings, asked.data)
    assert base.objective == Electra(generator_width=0.5, mask_rate=0.25)
    told = ("electra", "electra-15", "mlm", "held-back: electra generator_rate=0.3  never_original=true")
    same, chosen, mlm, held = parse_objectives(base, told)
    assert same.config == base and held.name == "held-back"
    assert chosen.config.objective == Electra15(generator_width=0.5, mask_rate=0.25)
    assert chosen.config.objective.detection_on == "chosen"
    assert mlm.config == replace(base, objective=Mlm(mask_rate=0.25))
    assert held.config.objective == replace(base.objective, generator_rate=0.3, never_original=True)
    assert parse_objective(base, "mlm  mask_rate=4e-1").config.objective == Mlm(mask_rate=0.4)
    assert parse_objective(base, "mlm  mask_rate=4e-1").name == "mlm mask_rate=4e-1"
    assert [same.resize_generator(width).name for width in (0.5, 1.0)] == ["electra", "electra, generator 1"]


def test_the_built_in_task_has_few_and_many_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, common = random.Random(0), [f"common{n}" for n in range(300)]
    documents = [
        Document(" ".join(draw.choices(common, k=20)), f"{name}/m{file}.py", index)
        for name in ("torch", "numpy", "sklearn")
        for file in range(80)
        for index in range(2)
    ]
    monkeypatch.setattr("electra.corpus.builtin.collect_docstrings", lambda: documents)
    found, _ = compare_tasks.read_tasks((compare_tasks.BUILT_IN,), (), Columns(), TUNING, tmp_path)
    found = [(problem.task, tuning) for problem, tuning in found]
    assert [task.name for task, _ in found] == ["packages", "packages-30", "packages-80"]
    (every, none), *some = found
    assert none is None and len(every.splits["train"]) > len(some[-1][0].splits["train"])
    for task, tuning in some:
        labels = [sample.label for sample in task.splits["train"]]
        assert tuning == FineTuning() and task.labels == ("numpy", "sklearn", "torch")
        assert {labels.count(label) for label in range(3)} == {int(task.name.split("-")[1])}
        assert task.evaluated == ["dev"] and task.splits["dev"] == found[0][0].splits["dev"]
    monkeypatch.setattr("electra.corpus.builtin.collect_docstrings", lambda: pytest.fail("was kept"))
    again, _ = compare_tasks.read_tasks((compare_tasks.BUILT_IN,), (), Columns(), TUNING, tmp_path)
    assert [problem.task for problem, _ in again] == [task for task, _ in found]


def test_two_files_are_train_and_dev_and_one_is_cut(asked: CompareConfig, folder: Path) -> None:
    one = str(folder / "mine.csv")
    ((problem, tuning),), _ = compare_tasks.read_tasks((one,), (), asked.columns, TUNING, folder)
    cut = problem.task
    assert len(cut.splits["train"]) + len(cut.splits["dev"]) == 192 and 30 < len(cut.splits["dev"]) < 45
    assert not set(cut.splits["train"]) & set(cut.splits["dev"]) and tuning == TUNING
    ((both, none),), _ = compare_tasks.read_tasks((), (f"{one}:{one}",), asked.columns, TUNING, folder)
    assert len(both.task.splits["dev"]) == 192 and none is None, "probed alone"
    for named in (f"topics={one}", f"topics={one}:{one}"):
        ((problem, _),), _ = compare_tasks.read_tasks((named,), (), asked.columns, TUNING, folder)
        assert problem.name == "topics"
    with pytest.raises(UserError, match="--name 'a/b': becomes a folder's name"):
        compare_tasks.read_tasks((f"a/b={one}",), (), asked.columns, TUNING, folder)
    with pytest.raises(UserError, match="nowhere.csv: no such file"):
        compare_tasks.read_tasks(("topics=nowhere.csv",), (), asked.columns, TUNING, folder)
    with pytest.raises(UserError, match=r"--task clo, did you mean cola\?|--task clo.*cola"):
        compare_tasks.read_tasks((f"clo={folder}",), (), asked.columns, TUNING, folder)
    with pytest.raises(UserError, match="another task called mine"):
        compare_tasks.read_tasks((one,), (f"{one}:{one}",), asked.columns, TUNING, folder)


def test_tags_and_blanks_are_probed_beside_texts(
    asked: CompareConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("electra.tasks.frozen.cloze.STEPS", 10)
    for split, texts in (("train", ("ab", "ba")), ("dev", ("aa", "bb"))):  # the word tells, not where it stands
        sentences = ["\n".join(f"{word} {'B-X' if word == 'a' else 'O'}" for word in words) for words in texts]
        (tmp_path / f"{split}.txt").write_text("\n\n".join(sentences * 6) + "\n")
    chunks = f"{tmp_path / 'train.txt'}:{tmp_path / 'dev.txt'}"
    pooled = replace(TUNING, pooling="mean")
    ((_, tuning),), _ = compare_tasks.read_tasks((chunks,), (), Columns(), pooled, tmp_path)
    assert tuning == replace(pooled, pooling="auto"), "that of texts, which may stand beside tags"
    few = replace(
        asked, objectives=("mlm",), budgets=BUDGETS[:1], seeds=1, tasks=(), probes=(chunks,), cloze=True, pairs="",
        generator_sizes=(), out=str(tmp_path / "out"),
    )  # fmt: skip
    scores = results(compare(few))[-1]["scores"]
    probes = {f"train: probe, {layers}" for layers in ("all layers", "best layer", "last layer")}
    assert set(scores) == probes | {"cloze probe, learned vector", "cloze probe, random token"}
    assert scores["train: probe, all layers"] == 1.0


def test_scored_pairs_are_judged_by_their_cosines_too(asked: CompareConfig, tmp_path: Path) -> None:
    """Of the dev file half the pairs are one text twice: their cosines are 1, and every other one is smaller."""
    for split, low, high in (("train", 0.5, 4.5), ("dev", 1.5, 5.0)):
        rows = [f"the {a},the {b},{low}\nthe {a},the {a},{high}" for a, b in permutations(WORDS, 2)]
        (tmp_path / f"{split}.csv").write_text("\n".join(["one,two,score", *rows]))
    few = replace(
        asked, objectives=("mlm",), budgets=BUDGETS[:1], seeds=1, tasks=(), pairs="", generator_sizes=(),
        probes=(f"pairs={tmp_path / 'train.csv'}:{tmp_path / 'dev.csv'}",),
        columns=Columns("one", pair="two", label="score"), out=str(tmp_path / "out"),
    )  # fmt: skip
    judged = results(compare(few))
    assert len(judged) == 3
    for each in judged:
        scores = each["scores"]
        assert {f"pairs: similarity, {layer}" for layer in ("best layer", "last layer")} < set(scores)
        assert scores["pairs: similarity, best layer"] >= scores["pairs: similarity, last layer"] > 0.8
