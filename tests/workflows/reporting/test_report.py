"""`electra report`: what it takes, what it refuses, and what of it comes into the page."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from electra import files
from electra.cli import main
from electra.engine.parallel import Parallel
from electra.errors import UserError
from electra.model.config import ClassicConfig
from electra.objectives.build import Electra, Mlm
from electra.report.compare import EncoderResult
from electra.report.html.content import ReportContent, TableCell
from electra.report.seeds import summarize_seeds
from electra.run_folder import FINETUNING_RUN, write_json
from electra.tokenization.training import train_tokenizer
from electra.workflows.compare.plan import COMPARISON
from electra.workflows.evaluate import EvaluateConfig, evaluate, keep_scores
from electra.workflows.finetune import FINETUNINGS
from electra.workflows.finetune_summary import write_summary
from electra.workflows.pretrain import create_pretrainers, open_data
from electra.workflows.pretraining.config import Phase, PretrainConfig
from electra.workflows.pretraining.final import save_towers
from electra.workflows.report import ReportConfig, write_report
from electra.workflows.reporting import inputs as report_inputs
from electra.workflows.reporting.content import collect_content
from electra.workflows.reporting.examples import SPACE_MARK, spell_token
from electra.workflows.reporting.inputs import name_runs, sort_inputs
from reported import FIGURES, PageReader, make_metrics, read_data, write_run


def collect(*paths: Path, examples: int = 0) -> ReportContent:
    return collect_content(sort_inputs([*map(str, paths)]), examples, "")


def cells(content: ReportContent, title: str) -> list[list[object]]:
    """The rows of a table, cells as texts."""
    (table,) = [each for tables in content.tables.values() for each in tables if each.title.startswith(title)]
    return [[cell.text if isinstance(cell, TableCell) else cell for cell in row] for row in table.rows]


def write_finetunings(folder: Path, scores: dict[str, float]) -> Path:
    """A folder of fine-tunings of cola, as `electra finetune` leaves it: seed → accuracy on dev."""
    files.claim_folder(folder, FINETUNINGS)
    figures = {}
    for seed, score in scores.items():
        run = write_run(folder / "cola" / f"seed-{seed}", [
            {"step": 2, "tokens": 64, "flops": 0, "seconds": 0.1, "split": "train", "loss": 0.7},
            {"step": 4, "tokens": 128, "flops": 0, "seconds": 0.2, "split": "held-out", "accuracy": score},
        ])  # fmt: skip
        files.mark_folder(run, FINETUNING_RUN)
        write_json(run / "config.json", {"task": "cola", "model": "m", "seed": int(seed), "settings": {"patience": 0}})
        write_json(run / "result.json", {"dev": {"accuracy": score}})
        figures[str(run)] = {"dev": {"accuracy": score}}
    summary = summarize_seeds(figures)
    write_summary(folder / "cola", {"rate": "", "figures": summary, "failed": [], "best": ""}, {"": summary})
    return folder


def write_comparison(folder: Path) -> Path:
    """A comparison of two objectives, two seeds each, and random weights."""
    files.claim_folder(folder, COMPARISON)
    write_json(folder / "config.json", {"equal": "flops"})
    cost = {"steps": 4, "flops": 1e12, "tokens": 100, "tokens_per_second": 5.0, "seconds": 2.0}
    own, lines = {"generator/accuracy": 0.2}, []
    scored = {"random weights": (0.1, 0.12), "mlm": (0.5, 0.52), "el": (0.7, 0.72)}
    for name, scores in scored.items():
        budget = 0.0 if name == "random weights" else 1e12
        for seed, score in enumerate(scores, 1):
            result = EncoderResult(name, budget, seed, cost, own, {"cola: probe, last layer": score})
            lines.append(json.dumps({**result.__dict__, "folder": "x"}) + "\n")
            if budget:
                write_run(folder / "runs" / name / "1e12-flops" / f"seed-{seed}", seed=seed)
    (folder / "scores.jsonl").write_text("".join(lines))
    return folder


def test_a_run_is_read_as_it_lies_there(tmp_path: Path) -> None:
    lines = [
        make_metrics(20), make_metrics(40, **{"generator/loss": float("nan")}),
        {"step": 40, "split": "verdict", "kind": "k", "message": "the generator is too strong"},
        make_metrics(40, "held-out"), make_metrics(60),
    ]  # fmt: skip
    folder = write_run(tmp_path / "s1", lines, phases=[{"steps": 60, "length": 128}])
    environment = json.loads((folder / "environment.json").read_text())
    starts = [{"time": "2026-01-01", "step": 40, "changed": {"engine.keep": {"before": 2, "now": 3}}}]
    write_json(folder / "environment.json", environment | {"starts": starts})
    (run,) = collect(folder).runs
    assert run.name == "s1" and run.curves["generator/loss"]["train"] == ([20, 40, 60], [7.5, None, 7.5])
    assert run.curves["learning_rate, the highest"]["train"].values == [2e-3] * 3
    assert not any(name.startswith("learning_rate/") for name in run.curves)
    assert run.axes["hours"].values[0] == pytest.approx(10 / 3600) and run.axes["tokens"].steps == [20, 40, 40, 60]
    assert run.settings["phases.0.length"] == 128 and run.environment["packages.torch"] == "2.13.0"
    assert run.health.not_finite == {"generator/loss": (1, 40)} and not run.health.finished
    assert run.health.warnings == [(40, "the generator is too strong")]
    assert run.health.starts == ["started again at step 40, 2026-01-01; engine.keep: 2 → 3"]
    assert run.facts["objective"] == "electra" and run.facts["discriminator/auc"] == FIGURES["discriminator/auc"]


def test_runs_that_differ_in_their_seed_have_a_spread(tmp_path: Path) -> None:
    for seed, loss in ((1, 7.0), (2, 8.0)):
        write_run(tmp_path / f"seed-{seed}", [make_metrics(20, "held-out", **{"generator/loss": loss})], seed=seed)
    other = write_run(tmp_path / "other", [make_metrics(20, "held-out")], tokens=5.0)
    content = collect(tmp_path / "seed-1", tmp_path / "seed-2", other)
    assert content.runs[0].group == content.runs[1].group != content.runs[2].group
    (row,) = cells(content, "The last figures on held-out text")
    assert row[:2] == ["all, 2 seeds", "7.500 ± 0.707"]


def test_finetunings_have_their_runs_and_their_spread(tmp_path: Path) -> None:
    content = collect(write_finetunings(tmp_path / "ft", {"1": 0.5, "2": 0.6, "3": 0.7}))
    assert [run.name for run in content.runs] == [f"ft/cola/seed-{seed}" for seed in (1, 2, 3)]
    assert content.runs[0].curves.keys() == {"cola: loss", "cola: accuracy"} and content.runs[0].health.finished
    assert content.runs[0].facts["dev: accuracy"] == 0.5 and "flops" not in content.runs[0].axes
    assert cells(content, "Fine-tuning: cola") == [["ft", "dev/accuracy", 0.6, "0.600 ± 0.100", 0.7, 3]]


def test_a_comparison_has_its_tables_and_its_runs(tmp_path: Path) -> None:
    content = collect(write_comparison(tmp_path / "cmp"))
    assert [run.name for run in content.runs[:2]] == ["el/1e12-flops/seed-1", "el/1e12-flops/seed-2"]
    assert cells(content, "cmp: 1e12 FLOPs, scores") == [
        ["mlm", "0.510 ± 0.014"], ["el", "0.710 ± 0.014 ▲"], ["random weights", "0.110 ± 0.014 ▼"],
    ]  # fmt: skip
    assert cells(content, "cmp: 1e12 FLOPs, spent")[0][:3] == ["mlm", 2, "1e12"]
    assert content.missing["probes"] == ["Those of comparisons stand in their tables, under Evaluations."]


@pytest.mark.parametrize(
    ("task", "section"), [("minimal-pairs", "pairs"), ("probe", "probes"), ("held-out", "evaluations")]
)
def test_evaluations_come_under_the_names_of_their_runs(tmp_path: Path, task: Any, section: Any) -> None:
    runs = [write_run(tmp_path / f"seed-{seed}", seed=seed) for seed in (1, 2)]
    models = [str(runs[0]), str(runs[1]), str(runs[1] / "final" / "encoder"), "elsewhere"]
    scores = {model: {"a": 0.5 + number / 10, "accuracy": 0.4, "pairs": 20} for number, model in enumerate(models)}
    file = tmp_path / "scores.json"
    keep_scores(EvaluateConfig(models=tuple(models), task=task, data="x/data", out=str(file)), scores)
    content = collect(*runs, file)
    (table,) = [each for each in content.tables[section] if "seeds" not in each.title]
    assert table.header[1:5] == ("seed-1", "seed-2", "seed-2, encoder", "elsewhere") and table.title.endswith("data")
    if task == "minimal-pairs":
        assert [row[0] for row in table.rows] == ["a", "all pairs"] and table.rows[0][4].best  # type: ignore[attr-defined]
        assert "20 pairs" in table.about
    else:
        assert table.header[5:] == ("mean ± spread: all, 2 seeds",)
        assert table.rows[0][5].text == "0.550 ± 0.071"  # type: ignore[attr-defined]


def test_an_evaluation_replaces_only_its_like(tmp_path: Path) -> None:
    file = tmp_path / "scores.json"
    config = EvaluateConfig(models=("m",), out=str(file))
    keep_scores(config, {"m": {"a": float("nan")}})
    keep_scores(config, {"m": {"a": 0.5}})
    content = collect(file)
    assert cells(content, "Held-out") == [["a", 0.5]]
    file.write_text("mine")
    with pytest.raises(UserError, match=r"scores\.json: is there already, and not written by this command"):
        evaluate(config)  # before it looks for the model, which is not there
    assert file.read_text() == "mine"


def test_what_is_not_there_is_told_in_its_place(tmp_path: Path) -> None:
    content = collect(write_run(tmp_path / "s1"), examples=2)
    assert content.missing.keys() == {"evaluations", "probes", "pairs", "tokens"}
    assert "electra finetune" in content.missing["evaluations"][0] and "final/" in content.missing["tokens"][0]


def spoil(name: str, text: str) -> Callable[[Path], str]:
    def change(folder: Path) -> str:
        (folder / name).write_text(text)
        return str(folder)

    return change


LINE = json.dumps(make_metrics(20))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda run: str(run.parent / "none"), "none: no such folder or file"),
        (lambda run: str(run.parent), "not a folder of this program; expected a folder that `electra pretrain`"),
        (lambda run: str(run / "config.json"), "config.json: no evaluation; `electra evaluate … --out config.json`"),
        (spoil("config.json", "{"), "config.json: damaged; its settings are needed: "),
        (spoil("metrics.jsonl", "{}\n"), "metrics.jsonl, line 1: damaged; take the line out"),
        (spoil("metrics.jsonl", LINE.replace("7.5", '"<b>"') + "\n"), "step 20: generator/loss: expected a number"),
        (spoil("metrics.jsonl", f"{LINE}\n{LINE.replace('20', '10', 1)}\n"), "step 10 stands after step 20: damaged"),
        (spoil("environment.json", '{"starts": 3}'), "environment.json: damaged: starts: expected a list, found 3"),
        (spoil("electra.json", '{"program": "electra", "format": 1, "holds": "text"}'), "a text; expected a folder"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_refused_in_a_line(
    tmp_path: Path, given: Callable[[Path], str], said: str, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out.html"
    assert main(["report", given(write_run(tmp_path / "all" / "s1")), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not out.exists()


def test_damaged_tables_are_told_in_a_line(tmp_path: Path) -> None:
    tuned, compared = write_finetunings(tmp_path / "ft", {"1": 0.5}), write_comparison(tmp_path / "cmp")
    for path, before, after, said in (
        (tuned / "cola" / "summary.json", '"mean": 0.5', '"mean": "a"', "damaged: rates: dev/accuracy.mean: expected"),
        (compared / "scores.jsonl", '"flops"', '"flop"', "scores.jsonl, line 1: cost: flops is missing"),
        (compared / "scores.jsonl", '"own": {', '"own": {"a": "b", ', "scores.jsonl, line 1: own.a: expected a number"),
        (compared / "scores.jsonl", '"seed"', '"seeds"', "scores.jsonl, line 1: expected an object with budget, cost"),
    ):
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after))
        with pytest.raises(UserError) as error:
            collect(tuned, compared)
        assert said in str(error.value)
        path.write_text(text)


def test_more_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, out = write_run(tmp_path / "s1"), tmp_path / "mine.html"
    (tmp_path / "link").symlink_to(run)
    with pytest.raises(UserError, match=r"link: given twice, also as .*s1$"):
        sort_inputs([str(run), str(tmp_path / "link")])
    monkeypatch.setattr(report_inputs, "MOST_RUNS", 0)
    with pytest.raises(UserError, match=r"^1 runs, and a page shows 0 at most"):
        sort_inputs([str(run)])
    monkeypatch.undo()
    out.write_text("mine")
    with pytest.raises(UserError, match=r"mine\.html: is there already, and not written by this command"):
        write_report(ReportConfig(runs=(str(run),), out=str(out)))
    for wrong in (tmp_path / "none" / "page.html", tmp_path):
        with pytest.raises(UserError, match=f"^{wrong}: "):
            write_report(ReportConfig(runs=(str(run),), out=str(wrong), examples=0))
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".partial")]
    with pytest.raises(UserError, match="which runs"):
        write_report(ReportConfig())
    assert out.read_text() == "mine"


def test_names_are_as_short_as_tells_them_apart(tmp_path: Path) -> None:
    for name in ("a/x/s1", "a/y/s1", "b/s2"):
        write_run(tmp_path / name)
    assert name_runs(sort_inputs([str(tmp_path / name) for name in ("a/x/s1", "a/y/s1", "b/s2")]).runs) == [
        "x/s1", "y/s1", "s2",
    ]  # fmt: skip


@pytest.mark.parametrize("count", [3_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_a_long_run_becomes_a_small_page(tmp_path: Path, count: int, capsys: pytest.CaptureFixture) -> None:
    folder, out = write_run(tmp_path / "s1"), tmp_path / "report.html"
    template, spike = json.dumps(make_metrics(777_777, **{"generator/loss": 888_888})), int(0.71 * count)
    with (folder / "metrics.jsonl").open("w") as file:
        for step in range(1, count + 1):
            loss = 99 if step == spike else 7 + step % 5
            file.write(template.replace("777777", str(step)).replace("888888", str(loss)) + "\n")
    assert write_report(ReportConfig(runs=(str(folder),), out=str(out), examples=0)) == out
    assert out.stat().st_size < 1_000_000 and f"{out}: 0." in capsys.readouterr().out
    figures = read_data(PageReader(out.read_text()))["figures"]
    (line,) = next(figure["lines"] for figure in figures if figure["name"] == "generator/loss")
    assert line["values"][line["steps"].index(spike)] == 99 and line["steps"][-1] == count


@pytest.fixture(scope="module")
def finished(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of ELECTRA and of masked language modelling with fresh weights, as if they had ended."""
    runs = {}
    for name, objective in (("electra", Electra(generator_width=0.5)), ("mlm", Mlm())):
        encoder = ClassicConfig(
            vocab_size=1000, hidden_size=32, layers=1, heads=2, intermediate_size=64, embedding_size=16,
            max_positions=32,
        )  # fmt: skip
        config = PretrainConfig(
            data=str(prepared), encoder=encoder, objective=objective, phases=(Phase(steps=2, length=32, rows=4),)
        )
        folder = write_run(tmp_path_factory.mktemp(name) / name)
        write_json(folder / "config.json", replace(config, out=str(folder)))
        torch.manual_seed(0)
        (pretrainer,) = create_pretrainers(config, open_data(config), lambda line: None)
        cards = dict.fromkeys(pretrainer.parts(), "card")
        save_towers(folder / "final", pretrainer, prepared / "tokenizer", objective.kind, cards)
        runs[name] = folder
    return runs


def test_replaced_tokens_are_shown_in_their_texts(finished: dict[str, Path], tmp_path: Path) -> None:
    content = collect(finished["electra"], finished["mlm"], examples=4)
    (judged,) = content.judged
    tokens = [token for text in judged.texts for token in text]
    replaced = [token for token in tokens if token.original is not None]
    assert judged.run == "electra" and 0.05 < len(replaced) / len(tokens) < 0.3
    assert all(token.original != token.text or token.continues for token in replaced)
    assert all(0 <= (token.replaced or 0) <= 1 for token in tokens) and not any("[SEP]" in t.text for t in tokens)
    assert content.missing["tokens"] == ["Left out: mlm: no discriminator: a masked language model detects nothing"]
    again = collect_content(sort_inputs([str(finished["electra"])]), 4, "")
    assert again.judged == content.judged, "the same rows and samples every time"


@pytest.mark.parametrize("kind", ["word-piece", "byte-bpe", "unigram"])
def test_tokens_are_spelled_as_a_person_reads_them(kind: Any) -> None:
    text = "the chefs ate , unlike the cookers"
    tokenizer = train_tokenizer([text, text, "the chef and the cook liked unlikely meals"] * 2, 290, kind)
    (ids,) = tokenizer.encode([f"{text} unliked"])
    tokens = [spell_token(tokenizer, token_id) for token_id in ids]
    assert all(word for word, _ in tokens) and any(continues for _, continues in tokens)
    joined = "".join(word if continues else f" {word}" for word, continues in tokens)
    assert joined.replace(SPACE_MARK, "").strip() == f"{text} unliked"


def test_the_device_is_the_one_that_is_given(
    finished: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Parallel, "alone", classmethod(lambda cls: cls(0, 1, torch.device("nowhere"))))  # law 13
    with pytest.raises(RuntimeError, match="nowhere"):
        collect(finished["electra"], examples=1)
