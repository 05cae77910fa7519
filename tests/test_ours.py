"""Law 10: only what this program wrote is ever removed or replaced, and it is told by a file of ours, not by a name."""

import fcntl
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from electra import cli, files
from electra.corpus.prepare import PrepareConfig, prepare
from electra.corpus.train_tokenizer import TokenizerConfig, tokenizer
from electra.dataset.shards import Shards
from electra.engine import checkpoint
from electra.engine.train import Engine
from electra.errors import UserError
from electra.interchange import huggingface
from electra.model.config import ClassicConfig
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.workflows.compare.compare import compare
from electra.workflows.compare.plan import CompareConfig
from electra.workflows.data import DataConfig, data
from electra.workflows.evaluate import EvaluateConfig, evaluate
from electra.workflows.export import ExportConfig, export
from electra.workflows.inspect import InspectConfig, inspect
from electra.workflows.pretrain import pretrain
from electra.workflows.pretraining.config import Phase, PretrainConfig

SHAPE = ClassicConfig(hidden_size=32, layers=1, heads=2, intermediate_size=64, embedding_size=16, max_positions=32)
TEXT = "\n\n".join(f"the chef number {n} ate a meal" for n in range(300))


def content(folder: Path) -> dict[str, bytes]:
    """Every file in a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def tower() -> Tower:
    torch.manual_seed(0)
    return Tower.detection(SHAPE, build_embeddings(SHAPE))


def some_run(folder: Path, prepared: Path) -> Path:
    """What ``export`` takes."""
    huggingface.save_tower(folder / "discriminator", tower(), prepared / "tokenizer", None)
    return folder


@pytest.fixture
def text(tmp_path: Path, prepared: Path) -> Path:
    """A folder with a corpus in ``c/parts``, as a user may have called it."""
    (tmp_path / "c" / "parts").mkdir(parents=True)
    (tmp_path / "c" / "parts" / "a.txt").write_text(TEXT)
    return tmp_path


def preparing(prepared: Path, data: Path, out: Path, **changes: object) -> PrepareConfig:
    base = PrepareConfig((str(data),), str(prepared / "tokenizer"), str(out), held_out=0.2, workers=1)
    return replace(base, **changes)


def pretraining(prepared: Path, out: Path, **changes: object) -> PretrainConfig:
    base = PretrainConfig(
        data=str(prepared), out=str(out), encoder=SHAPE, phases=(Phase(steps=4, length=32, rows=8),), held_out_rows=16,
        engine=Engine(compile="never", log_every=1, evaluate_every=0, save_every=1),
    )  # fmt: skip
    return replace(base, **changes)


@pytest.mark.parametrize("given", ["c/parts", "c", "c/parts/a.txt", "c/*/*.txt", "link", "wiki=c/parts"])
@pytest.mark.parametrize("out", ["c", "link", "c/parts"])
def test_text_below_the_folder_to_write_is_refused(
    text: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, given: str, out: str
) -> None:
    monkeypatch.chdir(text)
    (text / "link").symlink_to("c")
    before = content(text)
    words = ["prepare", "--data", given, "--tokenizer", str(prepared / "tokenizer"), "--out", out, "--workers", "1"]
    assert cli.main(words) == 2
    assert "a.txt lies in it, which is to be read; choose another --out" in capsys.readouterr().err
    assert content(text) == before and (text / "link").is_symlink()


@pytest.mark.parametrize("plan", [None, "{}", '{"settings": {}, "parts": []}'])
def test_a_folder_called_parts_makes_nothing_ours(text: Path, prepared: Path, plan: str | None) -> None:
    """Whatever goes wrong, and whatever else is called as ours are."""
    if plan:
        (text / "c" / "parts" / "plan.json").write_text(plan)
    (text / "bad.txt.gz").write_bytes(b"\x1f\x8b damaged")
    (text / "few.txt").write_text("one document")
    before = content(text)
    for source in ("bad.txt.gz", "few.txt"):
        with pytest.raises(UserError, match="c: is there already"):
            prepare(preparing(prepared, text / source, text / "c"))
        assert content(text) == before


@pytest.mark.parametrize("source", ["bad.txt.gz", "few.txt"])
def test_a_failure_removes_what_was_written_and_no_more(
    text: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    (text / "bad.txt.gz").write_bytes(b"\x1f\x8b damaged")
    (text / "few.txt").write_text("one document")
    (text / "data").mkdir()

    def added(*arguments: object) -> None:
        for name in ("notes.txt", "parts/notes.txt", "tokenizer/notes.txt"):
            (text / "data" / name).write_text("mine")
        run(*arguments)

    from electra.corpus import prepare as module

    run = module.run_parts
    monkeypatch.setattr(module, "run_parts", added)  # someone puts a file there while it works
    with pytest.raises(UserError):
        prepare(preparing(prepared, text / source, text / "data"))
    assert set(content(text / "data")) == {"notes.txt", "parts/notes.txt", "tokenizer/notes.txt"}


def test_an_empty_folder_of_the_users_stays_after_a_failure(text: Path, prepared: Path) -> None:
    (text / "data").mkdir()
    (text / "few.txt").write_text("one document")
    with pytest.raises(UserError, match="no document for the (train|held-out) split, of 1 in all"):
        prepare(preparing(prepared, text / "few.txt", text / "data"))
    assert list((text / "data").iterdir()) == []


def test_prepared_below_its_text_it_goes_on_after_a_kill(
    text: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vocabulary that the first try wrote is no text of the second."""
    from electra.corpus import prepare as module

    asked = preparing(prepared, text / "c", text / "c" / "data")
    with monkeypatch.context() as patch:
        patch.setattr(module, "run_parts", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare(asked)
    assert (text / "c" / "data" / "tokenizer" / "vocab.txt").is_file()
    manifest = prepare(asked)
    assert sum(split["documents"] for split in manifest["splits"].values()) == 300
    assert Shards.open(text / "c" / "data", "train").tokens


@pytest.mark.parametrize("left", ["", "parts", "parts/.electra.json.0123456789abcdef0123456789abcdef.partial"])
def test_killed_before_the_plan_it_starts_anew(text: Path, prepared: Path, left: str) -> None:
    """Whichever of the first moments the kill came in."""
    out = text / "data"
    (out / Path(left).parts[0] if left else out).mkdir(parents=True)
    if left.endswith(".partial"):
        (out / left).write_text('{"prog')
    prepare(preparing(prepared, text / "c", out))
    assert sorted(path.name for path in out.iterdir() if path.suffix != ".shard") == ["manifest.json", "tokenizer"]


@pytest.mark.parametrize("verb", ["tokenizer", "export", "model", "checkpoint"])
def test_folders_named_like_leftovers_stay(text: Path, prepared: Path, verb: str) -> None:
    parent = text / "there"
    names = [f".new.partial-{os.getpid()}", ".new.partial", ".new.old", f".new.{'0' * 32}.partial"]
    for name in names:
        (parent / name).mkdir(parents=True)
        (parent / name / "thesis.txt").write_text("mine")
    before = content(parent)
    if verb == "tokenizer":
        tokenizer(TokenizerConfig(existing=str(prepared / "tokenizer"), out=str(parent / "new")))
    elif verb == "export":
        export(ExportConfig(run=str(some_run(text / "run", prepared)), out=str(parent / "new")))
    elif verb == "model":
        huggingface.save_tower(parent / "new", tower(), None, None)
    else:
        checkpoint.write_tensor_folder(parent / "new", {"model": {"w": torch.ones(2)}}, {})
    assert before.items() <= content(parent).items() and (parent / "new").is_dir()


def test_what_a_kill_left_is_removed_unless_it_is_being_written(tmp_path: Path) -> None:
    dead, live = (tmp_path / f".new.{digit * 32}.partial" for digit in "01")
    for folder in (dead, live):
        files.mark_folder(folder, "model")
        (folder / "weights").write_text("half")
    with (live / files.MARKER).open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with files.write_whole_folder(tmp_path / "new", "model") as folder:
            (folder / "weights").write_text("all")
        assert not dead.exists() and (live / "weights").is_file()
    with files.write_whole_folder(tmp_path / "new", "model"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert set(content(tmp_path / "new")) == {files.MARKER}


def test_a_folder_is_replaced_only_if_all_in_it_is_ours(tmp_path: Path) -> None:
    mine, ours = tmp_path / "mine", tmp_path / "ours"
    mine.mkdir()
    for name in ("config.json", "model.safetensors", "thesis.txt"):
        (mine / name).write_text("mine")
    before = content(mine)
    with pytest.raises(UserError, match=r"mine: is there already, and no model of this program \(holds config.json\)"):
        huggingface.save_tower(mine, tower(), None, None)
    assert content(mine) == before
    huggingface.save_tower(ours, tower(), None, None)
    huggingface.save_tower(ours, tower(), None, "a card")
    assert (ours / "README.md").read_text() == "a card"
    (ours / "notes.txt").write_text("mine")
    before = content(ours)
    with pytest.raises(UserError, match=r"ours: holds notes.txt too, which was not written with it"):
        huggingface.save_tower(ours, tower(), None, None)
    assert content(ours) == before and len(list(tmp_path.iterdir())) == 2
    (ours / "notes.txt").unlink()
    said = json.loads((ours / files.MARKER).read_text())
    (ours / files.MARKER).write_text(json.dumps(said | {"format": 99}))
    with pytest.raises(UserError, match=r"electra.json: format 99, this version writes 1"):
        huggingface.save_tower(ours, tower(), None, None)


@pytest.mark.parametrize("name", ["discriminator", "generator", "thesis"])
def test_an_export_goes_nowhere_but_into_a_new_folder(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture, name: str
) -> None:
    some_run(tmp_path / "run", prepared)
    (tmp_path / "hub" / name).mkdir(parents=True)
    (tmp_path / "hub" / name / "mine").write_text("mine")
    before = content(tmp_path)
    assert cli.main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "hub")]) == 2
    said = capsys.readouterr().err
    assert "choose another --out" in said and len(said.splitlines()) == 1
    assert content(tmp_path) == before


def test_an_export_that_fails_half_way_leaves_nothing(prepared: Path, tmp_path: Path) -> None:
    some_run(tmp_path / "run", prepared)
    (tmp_path / "run" / "generator").mkdir()
    for _ in range(2):
        with pytest.raises(UserError, match="generator"):
            export(ExportConfig(run=str(tmp_path / "run"), out=str(tmp_path / "hub")))
        assert [path.name for path in tmp_path.iterdir()] == ["run"]


FOREIGN = {
    "metrics": {"metrics.jsonl": '{"step": 1, "loss": 2.0}\n'},
    "checkpoints": {"checkpoints/step-00000001/state.json": "{}", "checkpoints/step-00000002/weights": "w"},
    "config": {"config.json": '{"learning_rate": 1}', "metrics.jsonl": ""},
    "final": {"final/discriminator/config.json": "{}"},
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_folder_of_another_tool_is_no_run(prepared: Path, tmp_path: Path, name: str) -> None:
    for path, said in FOREIGN[name].items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(said)
    before = content(tmp_path)
    with pytest.raises(UserError) as caught:
        pretrain(pretraining(prepared, tmp_path))
    assert content(tmp_path) == before and "\n" not in str(caught.value)


def test_a_run_of_the_version_before_goes_on(prepared: Path, tmp_path: Path) -> None:
    """It says nothing of formats: its config and its data's fingerprint are what it is known by."""
    out = pretrain(pretraining(prepared, tmp_path / "run"))
    whole = content(out / "final")
    for path in out.rglob(files.MARKER):
        path.unlink()
    found = content(out)
    pretrain(pretraining(prepared, out))  # it is finished
    assert {k: v for k, v in content(out).items() if k != files.MARKER and k != "curves.png"} == {
        k: v for k, v in found.items() if k != "curves.png"
    }
    shutil.rmtree(out / "final")
    shutil.rmtree(out / "checkpoints" / "step-00000004")
    (out / files.MARKER).unlink()
    pretrain(pretraining(prepared, out))
    assert content(out / "final")["discriminator/model.safetensors"] == whole["discriminator/model.safetensors"]
    assert [path.name for path in checkpoint.list_checkpoints(out / "checkpoints")] == [
        "step-00000003",
        "step-00000004",
    ]


def test_only_our_checkpoints_are_counted_and_removed(prepared: Path, tmp_path: Path) -> None:
    asked, elsewhere = pretraining(prepared, tmp_path / "run"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "state.json").write_text('{"step": 99}')
    there = tmp_path / "run" / "checkpoints"
    files.claim_folder(tmp_path / "run", "run of pretrain")  # as after a kill before its first step
    for name in ("step-12.bak", "step-final", "step-00000001", "step-7", "step-00000000", "step-00000090-copy"):
        (there / name).mkdir(parents=True)
        (there / name / "model.safetensors").write_text("mine")
    (there / "step-00000000" / "state.json").write_text('{"epoch": 3}')
    (there / "step-00000099").symlink_to(elsewhere)
    (there / "step-00000098").write_text("a file")
    (there / "step-00000003").write_text("a file")
    before = content(tmp_path)
    pretrain(asked)
    assert before.items() <= content(tmp_path).items() and (there / "step-00000099").is_symlink()
    assert [path.name for path in checkpoint.list_checkpoints(there)] == ["step-000000003", "step-00000004"]
    checkpoint.remove_checkpoints(there)
    assert before.items() <= content(tmp_path).items() and not checkpoint.list_checkpoints(there)


def test_notes_in_a_checkpoint_that_is_due_to_go_stay(tmp_path: Path) -> None:
    def save(step: int) -> None:
        checkpoint.save_checkpoint(tmp_path, step, {"w": torch.ones(2)}, {}, {"step": step}, checkpoint.Keeping(1))

    save(1)
    (tmp_path / "step-00000001" / "notes.txt").write_text("mine")
    save(2)
    assert set(content(tmp_path / "step-00000001")) == {"notes.txt"}
    assert checkpoint.list_checkpoints(tmp_path) == [tmp_path / "step-00000002"]


@pytest.mark.parametrize(
    "setting", ["keep", "keep-every", "save-every", "save-minutes", "log-every", "evaluate-every", "micro-rows", "clip"]
)
def test_ranges_of_the_engine_are_said(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture, setting: str
) -> None:
    words = ["pretrain", "--data", str(prepared), "--out", str(tmp_path / "run"), f"--engine.{setting}", "-1"]
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    number = "a number" if setting in ("clip", "save-minutes") else "a whole number"
    field = f"engine.{setting.replace('-', '_')}"
    assert f"flags: {field}: expected {number} of at least 0, found -1" in said and len(said.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_with_keep_0_all_checkpoints_stay(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        checkpoint.save_checkpoint(tmp_path, step, {"w": torch.ones(2)}, {}, {"step": step}, checkpoint.Keeping(0))
    assert [checkpoint.step_of_checkpoint(path) for path in checkpoint.list_checkpoints(tmp_path)] == [1, 2, 3]


@pytest.mark.parametrize("name", ["table.md", "scores.jsonl", "packages.json", "environment.json"])
def test_a_folder_of_another_tool_is_no_comparison(prepared: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("{}")
    (tmp_path / "mine.csv").write_text("text,label\na,b\nc,d\n")
    before = content(tmp_path)
    with pytest.raises(UserError, match="out"):
        compare(
            CompareConfig(
                preset="tiny", data=str(prepared), out=str(tmp_path / "out"), tasks=(str(tmp_path / "mine.csv"),)
            )
        )
    assert content(tmp_path) == before


def test_pictures_and_pages_replace_only_their_like(prepared: Path, tmp_path: Path) -> None:
    run = pretrain(pretraining(prepared, tmp_path / "run"))
    shutil.copytree(prepared, tmp_path / "data")
    mine = {name: tmp_path / name for name in ("mine.png", "mine.html", "data/mine.png")}
    verbs = {
        "mine.png": lambda path: evaluate(
            EvaluateConfig(models=(str(run),), task="replaced", rows=16, picture=str(path))
        ),
        "mine.html": lambda path: inspect(InspectConfig(run=str(run), texts=("a name",), html=str(path))),
        "data/mine.png": lambda path: data(
            DataConfig(data=str(tmp_path / "data"), samples=0, rows=0, histogram=path.name)
        ),
    }
    for name, verb in verbs.items():
        verb(mine[name])
        verb(mine[name])  # one of ours
        mine[name].write_bytes(b"mine")
        with pytest.raises(UserError, match="mine.*is there already"):
            verb(mine[name])
        assert mine[name].read_bytes() == b"mine"


def test_files_that_a_kill_left_half_written_in_a_run_are_removed(prepared: Path, tmp_path: Path) -> None:
    out = pretrain(pretraining(prepared, tmp_path / "run"))
    left, mine = out / f".best.safetensors.{'a' * 32}.partial", out / ".notes.partial"
    for path in (left, mine):
        path.write_text("half")
    pretrain(pretraining(prepared, out))
    assert not left.exists() and mine.exists()
