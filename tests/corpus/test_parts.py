"""The work in parts: the same on any number of workers and machines, and on after whatever stopped it."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from electra.corpus import builtin, sources
from electra.corpus.documents import ignore_progress
from electra.corpus.prepare import PrepareConfig, prepare
from electra.corpus.train_tokenizer import TokenizerConfig, tokenizer
from electra.corpus.workers import submit, tell_killed_workers
from electra.dataset.layout import Paper
from electra.dataset.rows import Rows
from electra.dataset.shards import Shards
from electra.errors import UserError
from formats import as_jsonl, lay

WORDS = ["the", "chef", "ate", "a", "meal", "and", "then", "cook", "made", "another", "one", "for", "Zoë", "naïve"]
SCRIPT = """
import sys
from electra.corpus import sources
from electra.corpus.prepare import PrepareConfig, prepare

sources.PART_BYTES = {part}
if __name__ == "__main__":
    prepare({config!r})
"""


def some_text(documents: int, seed: int) -> str:
    draw = np.random.default_rng(seed)
    return "\n\n".join(
        "\n".join(" ".join(draw.choice(WORDS, draw.integers(3, 30))) for _ in range(draw.integers(1, 6)))
        for _ in range(documents)
    )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sources of several files, and a tokenizer of their own."""
    folder = tmp_path_factory.mktemp("corpus")
    for source, counts in (("wiki", (900, 40, 30)), ("books", (500, 20))):
        (folder / source).mkdir()
        for number, count in enumerate(counts):
            (folder / source / f"{number}.txt").write_text(some_text(count, number))
    lines = [json.dumps({"text": text}) for text in some_text(300, 9).split("\n\n")]
    (folder / "books" / "more.jsonl").write_text("\n".join(lines))
    tokenizer(TokenizerConfig(data=(str(folder),), out=str(folder / "tok"), vocab_size=100))
    return folder


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PART_BYTES", 20_000)


def config(corpus: Path, folder: Path, **changes: object) -> PrepareConfig:
    given = {
        "data": (f"wiki={corpus / 'wiki'}", f"books={corpus / 'books'}"),
        "tokenizer": str(corpus / "tok"),
        "out": str(folder),
        "held_out": 0.1,
        "workers": 1,
        "drop_copies": ("documents", "lines"),
    }
    return PrepareConfig(**given | changes)


def content(folder: Path) -> dict[str, bytes]:
    """Every file of the folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process writes in one go."""
    out = tmp_path_factory.mktemp("whole") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "PART_BYTES", 20_000)
        manifest = prepare(config(corpus, out))
    assert len(manifest["splits"]["train"]["shards"]) > 8
    assert manifest["skipped"]["copy of a document"]["count"] > 50
    assert sorted(path.name for path in out.iterdir() if not path.name.endswith(".shard")) == [
        "manifest.json",
        "tokenizer",
    ]
    return content(out)


def test_the_number_of_workers_changes_nothing(corpus: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    prepare(config(corpus, tmp_path / "data", workers=3))
    assert content(tmp_path / "data") == whole


def test_shares_on_several_machines_make_the_same(corpus: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    out = tmp_path / "data"
    for turn in range(2):  # the first looks for copies
        for part in ("2/3", "1/3", "3/3"):
            assert prepare(config(corpus, out, part=part)) == {}
            assert not (out / "manifest.json").exists()
        if not turn:
            with pytest.raises(UserError, match=r"\d+ of \d+ parts are missing: 0, 1, 3"):
                prepare(config(corpus, out, merge=True))
    with pytest.raises(UserError, match=r"data/manifest.json: No such file.*the same command goes on"):
        Shards.open(out, "train")
    prepare(config(corpus, out, merge=True))
    assert content(out) == whole


@pytest.mark.slow
def test_ray_makes_the_same(corpus: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    on_ray(config(corpus, tmp_path / "data", engine="ray"))
    assert content(tmp_path / "data") == whole


@pytest.mark.slow
def test_an_error_on_ray_is_that_of_the_part(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.jsonl").write_text('{"body": 1}')
    with pytest.raises(subprocess.CalledProcessError) as raised:
        on_ray(config(corpus, tmp_path / "data", data=(str(tmp_path / "bad"),), engine="ray"))
    assert "a.jsonl, line 1: no text under 'text'" in raised.value.stderr


def on_ray(settings: PrepareConfig) -> None:
    """Prepare in a process of its own: Ray may end its driver, on a busy machine say; then the same command goes on."""
    pytest.importorskip("ray", reason="ray is not installed; pip install 'electra[ray]'")
    start = "import ray\n    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)"
    script = SCRIPT.format(part=20_000, config=settings).replace("    prepare(", f"    {start}\n    prepare(")
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        print(done.stderr)
        if done.returncode == 0 or "UserError" in done.stderr:
            break
    done.check_returncode()


def killed(script: str, out: Path, enough: Callable[[], bool]) -> None:
    """Run a script and kill -9 it, workers and all being its own business, as soon as there is enough."""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not enough():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_killed_it_goes_on_with_the_parts_that_are_left(corpus: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    out = tmp_path / "data"
    script = SCRIPT.format(part=20_000, config=config(corpus, out))
    done = lambda: sorted((out / "parts").glob("[0-9]*.json"))  # noqa: E731
    killed(script, out, lambda: len(done()) >= 2)
    assert not (out / "manifest.json").exists()
    with pytest.raises(UserError, match="No such file"):
        Shards.open(out, "train")
    kept = {file: file.stat().st_mtime_ns for file in out.glob("*-0000[01]-*.shard")}
    assert kept
    prepare(config(corpus, out))
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert content(out) == whole


def test_workers_end_when_their_parent_is_killed(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "long").mkdir()
    for number in range(2):
        (tmp_path / "long" / f"{number}.txt").write_text("the chef ate a meal\n\n" * 2_000_000)
    out = tmp_path / "data"
    settings = config(corpus, out, data=(str(tmp_path / "long"),), workers=2, drop_copies=())
    killed(SCRIPT.format(part=1 << 40, config=settings).replace("1099511627776", "30_000_000"), out,
           lambda: len(list(out.glob("train-*.shard"))) == 2)  # fmt: skip
    deadline = time.monotonic() + 10
    while (before := sizes(out)) and (time.sleep(1.5) or sizes(out)) != before:
        assert time.monotonic() < deadline, "the workers write on"


def sizes(out: Path) -> list[int]:
    return [file.stat().st_size for file in sorted(out.glob("*.shard"))]


def test_parts_prepared_otherwise_are_not_mixed(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    prepare(config(corpus, out, part="1/2", drop_copies=()))
    with pytest.raises(UserError, match=r"was begun otherwise \(fewest_words was 0, is 3; \d+ parts are done\)"):
        prepare(config(corpus, out, part="2/2", drop_copies=(), fewest_words=3))
    (tmp_path / "more.txt").write_text("the chef")
    data = (*config(corpus, out).data, str(tmp_path / "more.txt"))
    with pytest.raises(UserError, match="other files, or of another size"):
        prepare(config(corpus, out, drop_copies=(), data=data))


def test_a_plan_by_which_others_may_work_is_not_replaced(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    prepare(config(corpus, out, part="1/2"))  # has looked for copies; no part is done
    plan = (out / "parts" / "plan.json").read_text()
    with pytest.raises(UserError, match=r"was begun otherwise \(fewest_words was 0, is 3; 0 parts are done\)"):
        prepare(config(corpus, out, part="2/2", fewest_words=3))
    assert (out / "parts" / "plan.json").read_text() == plan and list((out / "parts").glob("*.keys"))


@pytest.mark.parametrize("name", ["plan.json", "00000.json"])
def test_a_damaged_note_of_what_is_done_is_named(corpus: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "data"
    prepare(config(corpus, out, part="1/1", drop_copies=()))
    (out / "parts" / name).write_text('{"source": ')
    with pytest.raises(UserError, match=f"parts/{name}: damaged; remove it, and the same command goes on"):
        prepare(config(corpus, out, drop_copies=(), merge=True))


def test_two_processes_do_not_write_into_one_folder(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    (tmp_path / "long.txt").write_text("".join(f"the chef {n} ate a meal\n\n" for n in range(30_000)))
    settings = config(corpus, out, data=(str(tmp_path / "long.txt"),), drop_copies=())
    other = multiprocessing.get_context("spawn").Process(target=prepare, args=(settings,))
    other.start()
    while not list(out.glob("train-*.shard")):
        assert other.is_alive()
        time.sleep(0.01)
    assert other.pid
    os.kill(other.pid, signal.SIGSTOP)  # so that it is not done too soon
    try:
        with pytest.raises(UserError, match="another process is preparing data there"):
            prepare(settings)
    finally:
        os.kill(other.pid, signal.SIGCONT)
    other.join()
    assert other.exitcode == 0 and Shards.open(out, "train").tokens


def test_a_source_that_disappears_stops_the_work_and_keeps_what_is_done(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "books").mkdir()
    for file in (corpus / "books").iterdir():
        (tmp_path / "books" / file.name).write_bytes(file.read_bytes())
    out = tmp_path / "data"
    data = (f"wiki={corpus / 'wiki'}", f"books={tmp_path / 'books'}")
    prepare(config(corpus, out, data=data, part="1/5", drop_copies=()))
    done = len(list((out / "parts").glob("[0-9]*.json")))
    listed = sources.find_sources(data)
    gone = tmp_path / "books" / "1.txt"
    kept = gone.read_bytes()
    gone.unlink()
    with pytest.MonkeyPatch.context() as patch:  # it was there when the work was planned
        patch.setattr("electra.corpus.prepare.find_sources", lambda patterns, skipped: listed)
        with pytest.raises(UserError, match=r"1.txt: No such file"):
            prepare(config(corpus, out, data=data, drop_copies=()))
    assert len(list((out / "parts").glob("[0-9]*.json"))) > done and not (out / "manifest.json").exists()
    gone.write_bytes(kept)
    prepare(config(corpus, out, data=data, drop_copies=()))
    assert Shards.open(out, "train").tokens


def test_an_error_in_a_worker_is_said_and_leaves_nothing(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "a" / f"{name}.jsonl").write_text('{"body": "x"}\n' * 2000)
    with pytest.raises(UserError, match=r"jsonl, line 1: no text under 'text'; found keys 'body'"):
        prepare(config(corpus, tmp_path / "data", data=(str(tmp_path / "a"),), workers=2, drop_copies=()))
    assert not (tmp_path / "data").exists()


def test_a_worker_that_is_killed_is_told(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "long").mkdir()
    for number in range(2):
        (tmp_path / "long" / f"{number}.txt").write_text("the chef ate a meal\n\n" * 1_000_000)
    settings = config(corpus, tmp_path / "data", data=(str(tmp_path / "long"),), workers=2, drop_copies=())
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(part=15_000_000, config=settings)],
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list((tmp_path / "data").glob("train-*.shard")):
        assert process.poll() is None
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    first, last = (int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(first, signal.SIGSTOP)  # so that no result of its tells that the other is gone
    while not is_stopped(first):
        time.sleep(0.01)
    os.kill(last, signal.SIGKILL)
    while not is_pending(first, signal.SIGTERM):  # the pool ends its other workers when it has seen it
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(first, signal.SIGCONT)
    assert "UserError: a worker was killed" in process.communicate(timeout=60)[1]


STILLBORN = """
import shutil, sys
from multiprocessing import resource_tracker, set_executable
from electra.corpus.documents import TextFormat
from electra.corpus.duplicates import CopyDetector
from electra.corpus.filters import Filters
from electra.corpus.parts import Job, write_part
from electra.corpus.sources import Part
from electra.corpus.workers import run_parts
if __name__ == "__main__":
    resource_tracker.ensure_running()
    set_executable(shutil.which("true"))  # a worker that is gone before it has read anything
    job = Job("absent", "x" * 1_000_000, (), TextFormat(), Filters(), CopyDetector(), 0.1)
    run_parts(write_part, job, [Part(0, "text", ()), Part(1, "text", ())], "local", 2, "preparing")
"""


def test_a_worker_that_dies_before_it_has_read_a_large_job_is_told() -> None:
    process = subprocess.run([sys.executable, "-c", STILLBORN], capture_output=True, text=True, timeout=60)
    assert "UserError: a worker was killed" in process.stderr


def test_a_worker_that_dies_while_another_is_started_is_told() -> None:
    """Python has closed the queue by then, and fails to hand it to the new worker."""

    class Breaking(ProcessPoolExecutor):
        broken = False

        def submit(self, *_: Any) -> Any:
            if self.broken:
                raise BrokenProcessPool("a process was terminated abruptly")
            self.broken = True
            raise OSError("handle is closed")

    with pytest.raises(UserError, match="a worker was killed"), tell_killed_workers():
        submit(Breaking(), ignore_progress, 0)


def is_stopped(pid: int) -> bool:
    """Whether all threads of a process are: a thread that still runs takes a fatal signal at once, for all of them."""
    return all("State:\tT" in (task / "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir())


def is_pending(pid: int, number: signal.Signals) -> bool:
    """Whether a signal waits until a stopped process goes on."""
    status = Path(f"/proc/{pid}/status").read_text()
    masks = [line.split()[1] for line in status.splitlines() if line.startswith(("SigPnd", "ShdPnd"))]
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"part": "0/3"}, "--part 0/3: i/n, with i from 1 to n"),
        ({"part": "x"}, "--part x: i/n"),
        ({"part": "1/2", "merge": True}, "first every part, then --merge alone"),
        ({"weights": ("wiki=2",)}, "--weights: books has none"),
        ({"weights": ("wiki=2", "book=1")}, "--weights book=1: NAME=NUMBER for each source; the sources: wiki, books"),
        ({"weights": ("wiki=2", "books=1"), "temperature": 2.0}, "one of the two"),
        ({"weights": ("wiki=2", "books=1", "wiki=3")}, "--weights wiki=3: wiki has a weight already, 2"),
        ({"temperature": 0.5}, "temperature: expected a number of at least 1, found 0.5"),
        ({"likeness": 0.6}, "--likeness 0.6: one of 0.9, 0.8"),
        ({"out": "s3://bucket/data"}, "written to a folder of this machine"),
        ({"data": ("-",)}, "standard input is read once, here: not with --part, --engine or --drop-copies"),
    ],
)
def test_settings_that_cannot_be_are_named(corpus: Path, tmp_path: Path, changes: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        prepare(config(corpus, tmp_path / "data", **changes))
    assert not (tmp_path / "data").exists()


def test_piped_text_is_prepared_beside_files_whatever_the_workers(corpus: Path, tmp_path: Path) -> None:
    data = ("piped=-", f"wiki={corpus / 'wiki'}")
    script = SCRIPT.format(part=20_000, config=config(corpus, tmp_path / "data", data=data, workers=3, drop_copies=()))
    text = some_text(200, 5)
    subprocess.run([sys.executable, "-c", script], input=text, text=True, check=True, capture_output=True)
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
    assert sum(split["words"] for split in manifest["sources"]["piped"].values()) == len(text.split())
    assert manifest["sources"]["wiki"]["train"]["documents"] > 500


def test_the_builtin_corpus_is_prepared_like_any_text(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [file for file in builtin.list_python_files() if file[0].startswith(("asyncio/", "email/", "http/"))]
    monkeypatch.setattr(builtin, "list_python_files", lambda: files)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    asked = config(corpus, tmp_path / "data", data=("builtin",), drop_copies=())
    prepare(replace(asked, part="1/1"))
    manifest = prepare(replace(asked, merge=True))
    assert all(split["documents"] > 10 for split in manifest["splits"].values())


def test_weights_and_temperature_are_shares_of_the_tokens(corpus: Path, tmp_path: Path) -> None:
    given = prepare(config(corpus, tmp_path / "a", weights=("wiki=3", "books=1")))
    assert given["weights"] == {"wiki": 0.75, "books": 0.25}
    flat = prepare(config(corpus, tmp_path / "b", temperature=2.0))
    tokens = {name: each["train"]["tokens"] for name, each in flat["sources"].items()}
    ratio = (tokens["wiki"] / tokens["books"]) ** 0.5
    assert flat["weights"]["wiki"] / flat["weights"]["books"] == pytest.approx(ratio)
    assert sum(flat["weights"].values()) == pytest.approx(1)


def test_a_source_without_a_token_has_no_share_and_an_epoch_is_whole(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "empty.txt").write_text("")
    data = (f"wiki={corpus / 'wiki'}", f"none={tmp_path / 'empty.txt'}")
    for number, changes in enumerate(({"weights": ("wiki=1", "none=3")}, {"temperature": 2.0})):
        out = tmp_path / str(number)
        given = prepare(config(corpus, out, data=data, **changes))
        assert given["weights"] == {"wiki": 1.0, "none": 0.0}
        assert "none: 0 documents" in (said := capsys.readouterr().out) and "; 0.0% of what training reads" in said
        rows = Rows(Shards.open(out, "train"), Paper(), 128, 1)
        assert len(rows.block_order(0)) == rows.shards.blocks > 0


def test_sources_without_a_token_are_told_with_a_temperature_too(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(UserError, match="no document"):
        prepare(config(corpus, tmp_path / "data", data=(str(tmp_path / "empty.txt"),), temperature=2.0))
    assert not (tmp_path / "data").exists()


def test_equal_words_fall_on_one_side_of_the_split_in_every_format(corpus: Path, tmp_path: Path) -> None:
    documents = [f"the chef ate\n{number} meals" for number in range(300)]
    (tmp_path / "a.txt").write_text("\n\n".join(documents))
    (tmp_path / "b.txt").write_bytes("\n\n".join(documents).replace("\n", "\r\n").encode())
    (tmp_path / "c.jsonl").write_bytes(as_jsonl(documents))
    counts = []
    for name in ("a.txt", "b.txt", "c.jsonl"):
        given = prepare(config(corpus, tmp_path / name[0], data=(str(tmp_path / name),), held_out=0.3, drop_copies=()))
        counts.append({split: given["splits"][split]["documents"] for split in ("train", "held-out")})
    assert counts[0] == counts[1] == counts[2] and 50 < counts[0]["held-out"] < 130
    data = tuple(f"{name[0]}={tmp_path / name}" for name in ("a.txt", "b.txt", "c.jsonl"))
    given = prepare(config(corpus, tmp_path / "all", data=data, held_out=0.3, drop_copies=("documents",)))
    assert [given["sources"][name]["train"]["documents"] for name in "abc"] == [counts[0]["train"], 0, 0]


def test_a_preview_goes_past_files_without_text(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    lay(tmp_path, "x/1.txt")
    (tmp_path / "x" / "0.txt").write_text("")
    prepare(config(corpus, tmp_path / "data", data=(str(tmp_path / "x"),), preview=1))
    assert "text of x/1.txt" in capsys.readouterr().out


def test_a_preview_shows_rows_and_writes_nothing(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert prepare(config(corpus, tmp_path / "data", preview=2, drop_copies=())) == {}
    said = capsys.readouterr().out
    assert "wiki: the first documents" in said and "books: the first documents" in said
    assert "rows of 128, paper:" in said and "rows of 128, packed:" in said
    assert "segment A" in said and "document 2 segment A" in said and "[CLS] " in said and "[SEP]" in said
    assert not (tmp_path / "data").exists()


def test_a_source_that_changed_is_not_mixed_with_what_was_read_before(corpus: Path, tmp_path: Path) -> None:
    """Of the same size, and written at the same time; the corpus may have moved."""
    first = tmp_path / "first"
    shutil.copytree(corpus / "wiki", first)
    out = tmp_path / "data"
    asked = config(corpus, out, data=(f"wiki={first}",), drop_copies=())
    prepare(replace(asked, part="1/2"))
    file, moved = first / "0.txt", tmp_path / "moved"
    kept, times = file.read_text(), (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    file.write_text(kept[:30].swapcase() + kept[30:])
    os.utime(file, ns=times)
    before = content(out)
    with pytest.raises(UserError, match=rf"first/0.txt: changed since {out} was begun; remove that folder"):
        prepare(asked)
    assert {name: each for name, each in content(out).items() if "lock" not in name or name in before} == before
    file.write_text(kept)
    shutil.move(first, moved)
    prepare(replace(asked, data=(f"wiki={moved}/../moved",)))
    fresh = tmp_path / "fresh"
    prepare(replace(asked, data=(f"wiki={moved}",), out=str(fresh)))
    same = lambda folder: {k: v for k, v in content(folder).items() if k != "manifest.json"}  # noqa: E731
    assert same(out) == same(fresh)


def test_a_source_that_changes_after_its_copies_were_found_is_told(corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus / "wiki", tmp_path / "wiki")
    asked = config(corpus, tmp_path / "data", data=(str(tmp_path / "wiki"),), part="1/2")
    prepare(asked)
    prepare(replace(asked, part="2/2"))
    file = tmp_path / "wiki" / "2.txt"
    file.write_text(file.read_text()[:-1] + "x")
    with pytest.raises(UserError, match=r"wiki/2.txt: changed since \S+ was begun"):
        prepare(replace(asked, part=""))


def test_parts_that_do_not_say_what_they_came_from_are_not_trusted(corpus: Path, tmp_path: Path) -> None:
    asked = config(corpus, tmp_path / "data", part="1/2", drop_copies=())
    prepare(asked)
    for note in (tmp_path / "data" / "parts").glob("*.read"):
        note.unlink()
    with pytest.raises(UserError, match="data: does not say what its parts were made from; remove it, and begin anew"):
        prepare(asked)


def test_other_evaluation_text_under_the_same_name_is_another_plan(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "evaluation.txt").write_text("the chef ate a meal and then another cook made one for Zoë and the chef")
    asked = config(
        corpus, tmp_path / "data", part="1/2", drop_copies=(), exclude_overlap=(str(tmp_path / "evaluation.txt"),)
    )
    prepare(asked)
    (tmp_path / "same.txt").write_text((tmp_path / "evaluation.txt").read_text())
    prepare(replace(asked, exclude_overlap=(str(tmp_path / "same.txt"),)))
    (tmp_path / "evaluation.txt").write_text("a naïve cook made a meal and then ate another one for Zoë and the chef")
    with pytest.raises(UserError, match="was begun otherwise .exclude_overlap was"):
        prepare(asked)
