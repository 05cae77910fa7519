"""SQuAD and MRQA files: every answer is found again in tokens, damage is named, and both heads learn."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from pyarrow import parquet

from electra.errors import UserError
from electra.interchange.encoders import TowerReader
from electra.model.config import ClassicConfig
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.tasks import answers
from electra.tasks.finetuning import squad
from electra.tasks.finetuning.examples import ExampleSource
from electra.tasks.finetuning.problem import FineTuned, FineTuning, Problem
from electra.tasks.finetuning.spans import FoundSpans
from electra.tokenization.loading import load_tokenizer
from electra.tokenization.tokenizer import Tokenizer
from electra.tokenization.training import train_tokenizer

CPU = torch.device("cpu")
CONTEXT = "The café—opened in 1889, by “Ana” Bo\u0308ll—sold  tea. In 1889 rain fell."


def question(name: str, text: str | None, start: int = 0, asked: str = "What?") -> dict[str, Any]:
    listed = [{"text": text, "answer_start": start}] if text is not None else []
    return {"id": name, "question": asked, "answers": listed} | ({"is_impossible": True} if text is None else {})


def write(path: Path, *paragraphs: tuple[str, list[dict[str, Any]]], version: str = "1.1") -> Path:
    entries = [{"context": context, "qas": questions} for context, questions in paragraphs]
    content = json.dumps({"version": version, "data": [{"title": "x", "paragraphs": entries}]}).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def mrqa(path: Path, *rows: dict[str, Any]) -> Path:
    lines = [{"header": {"dataset": "own"}}, *rows]
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    return path


GOOD = (CONTEXT, [question("g", "1889", CONTEXT.index("1889"))])


@pytest.fixture(scope="module")
def bert(shared: Path) -> Tokenizer:
    return load_tokenizer(shared / "data" / "vocab" / "bert-base-uncased-vocab.txt")


@pytest.fixture(scope="module")
def published(shared: Path) -> squad.Squad:
    """The first 300 questions of SQuAD 1.1's dev set, as train and as dev."""
    file = shared / "data" / "squad" / "dev-v1.1.json.gz"
    problem, notes = squad.load_squad({"train": file, "dev": file})
    assert notes == [f"{file}: 10,570 questions, and 87,599 as published: incomplete or another"]
    return squad.Squad({split: some[:300] for split, some in problem.questions.items()})


@pytest.mark.parametrize("length", [96, 384])
def test_every_answer_is_found_again_in_tokens(published: squad.Squad, bert: Tokenizer, length: int) -> None:
    assert isinstance(published, Problem)
    examples = published.examples("train", bert, length)
    pieces = squad.tokenize_contexts([each.context for each in published.questions["train"]], bert)
    seen: dict[int, bool] = {}
    for example in examples:
        window, question = example.target, published.questions["train"][example.sample]
        assert len(example.ids) == len(example.segments) <= length
        assert example.ids[0] == 101 and example.ids[window.first - 1] == example.ids[-1] == 102
        assert example.segments == [0] * window.first + [1] * (len(window.offsets) + 1)
        inside = slice(window.first, window.first + len(window.offsets))
        ids, offsets = pieces[question.context]
        at = np.flatnonzero((offsets == window.offsets[0]).all(1))[0]
        assert example.ids[inside] == ids[at : at + len(window.offsets)]
        first, last = window.offsets[[window.start - window.first, window.end - window.first]].tolist()
        gold = [(a, b) for _, a, b in question.answers if first[0] <= a < first[1] and last[0] < b <= last[1]]
        assert gold, "the tokens hold an answer, and none is at its edge"
        seen[example.sample] = question.context[first[0] : last[1]] in question.golds
    assert len(seen) == 300 and sum(seen.values()) > 290, "few answers begin or end within a word piece"


def test_every_token_of_a_context_is_read_and_owned_once(published: squad.Squad, bert: Tokenizer) -> None:
    examples = published.examples("dev", bert, 128)
    assert len(examples) > 300
    counts = [
        len(squad.tokenize_contexts([each.context], bert)[each.context][0]) for each in published.questions["dev"]
    ]
    owned = [0] * 300
    for example in examples:
        owned[example.sample] += example.target.own[1] - example.target.own[0]
    assert owned == counts
    tensors, count = published.targets(examples[:8], 128)
    assert count == 8 and tensors["own"].sum() <= tensors["context"].sum()
    for row, example in enumerate(examples[:8]):
        there = tensors["context"][row].nonzero()[:, 0].tolist()
        assert there == [at for at, segment in enumerate(example.segments) if segment][:-1]


def test_answers_are_read_back_and_the_windows_of_a_question_are_one(published: squad.Squad, bert: Tokenizer) -> None:
    """The gold spans, given as what a head found, are right all over; a worse one elsewhere changes nothing."""
    examples = published.examples("dev", bert, 128)
    found_spans = []
    for example in examples:
        window = example.target
        held = window.start > 0
        start, end = (window.start, window.end) if held else (window.first, window.first)
        found_spans.append(FoundSpans(np.array([start]), np.array([end]), np.array([2.0 if held else 1.0]), 0.0, 0.0))
    predictions = published.predictions("dev", examples, found_spans)
    scores = published.judge("dev", predictions)
    assert scores["f1"] > scores["exact"] > 0.97, "all but answers that begin or end within a word piece"
    assert json.loads(json.dumps(predictions)) == predictions
    assert [each["id"] for each in predictions] == [each.id for each in published.questions["dev"]]
    assert not any("score_null_minus_best" in each for each in predictions)


def test_offsets_are_corrected_and_told(tmp_path: Path) -> None:
    wrong = [question("a", "1889", 50), question("b", "sold tea", 3), question("c", "café", CONTEXT.index("café"))]
    train = write(tmp_path / "train.json.gz", (CONTEXT, wrong))
    problem, notes = squad.load_squad({"train": train, "dev": write(tmp_path / "dev.json", GOOD)})
    places = [CONTEXT[start:end] for each in problem.questions["train"] for _, start, end in each.answers]
    assert places == ["1889", "sold  tea", "café"]
    assert problem.questions["train"][0].answers[0][1] == CONTEXT.rindex("1889")
    assert notes[1] == f"{train}: 2 answers were not where their offsets say; the nearest occurrence is taken"
    assert "3 questions, and 87,599 as published" in notes[0] and "1 questions, and 10,570 as published" in notes[2]


def test_mrqa_is_read(tmp_path: Path) -> None:
    first, second = CONTEXT.index("1889"), CONTEXT.rindex("1889")
    spans = [[first, first + 3], [second, second + 3]]
    entry = {"qid": "a", "question": "When?", "answers": ["1889", "in 1889"],
             "detected_answers": [{"text": "1889", "char_spans": spans}]}  # fmt: skip
    file = mrqa(tmp_path / "train.jsonl.gz", {"context": CONTEXT, "qas": [entry]})
    bare = mrqa(tmp_path / "t.jsonl.gz", {"context": CONTEXT, "qas": [{"qid": "a", "question": "?"}]})
    problem, notes = squad.load_squad({"train": file, "dev": file, "test": bare})
    assert notes == [] and problem.splits == ("train", "dev", "test") and problem.evaluated == ("dev",)
    assert problem.questions["train"][0].answers == (("1889", first, first + 4), ("1889", second, second + 4))
    assert problem.questions["dev"][0].golds == ("1889", "in 1889")
    assert problem.judge("dev", [{"text": "In 1889!"}]) == {"exact": 1.0, "f1": 1.0}


def edited(tmp_path: Path, **changes: Any) -> Path:
    return write(tmp_path / "train.json", GOOD, (CONTEXT, [question("a", "tea", CONTEXT.index("tea")) | changes]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"question": 3}, r"train.json: data[0].paragraphs[1].qas[0]: 'question' is '3', and should be a text"),
        ({"answers": [{"text": "tea"}]}, "data[0].paragraphs[1].qas[0].answers[0]: no 'answer_start'"),
        ({"answers": []}, "qas[0], id 'a': no answer; is_impossible: true says that it has none"),
        ({"is_impossible": True}, "qas[0], id 'a': answers, and is_impossible"),
        ({"id": "g"}, "paragraphs[1].qas[0]: id 'g' stands there twice; first at "),
        (
            {"answers": [{"text": "coffee", "answer_start": 4}]},
            "train.json: data[0].paragraphs[1].qas[0], id 'a': answer 'coffee' at 4 is not in its context, "
            "which has 'café—o' there; answers are spans of it",
        ),
    ],
)
def test_damage_is_named_by_its_place(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    file = edited(tmp_path, **changes)
    with pytest.raises(UserError, match=re.escape(message)) as error:
        squad.load_squad({"train": file, "dev": write(tmp_path / "dev.json", GOOD)})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.json", "{", r"x.json: not JSON: Expecting"),
        ("x.json", "[]", r"x.json: no 'data'"),
        ("x.json", '{"data": [{"paragraphs": [{"qas": []}]}]}', r"x.json: data\[0\].paragraphs\[0\]: no 'context'"),
        ("x.json", '{"data": []}', r"x.json: no questions"),
        ("x.csv", "", r"x.csv: answers are read from SQuAD's .json or MRQA's .jsonl, also with .gz"),
        ("x.json.gz", "{}", r"x.json.gz: Not a gzipped file"),
        ("x.jsonl", '{"header": 1}\n{"context": "a"}', r"x.jsonl, line 2: no 'qas'"),
        ("x.jsonl", '{"header": 1}\n\n{"context', r"x.jsonl, line 3: not JSON"),
        (
            "x.jsonl",
            '{"context": "a", "qas": [{"qid": "q", "question": "?", "detected_answers": '
            '[{"text": "a", "char_spans": [[0]]}]}]}',
            r"x.jsonl, line 1: qas\[0\].detected_answers\[0\]: 'char_spans' should be pairs of whole numbers",
        ),
        (
            "x.jsonl",
            '{"context": "a", "qas": [{"qid": "q", "question": "?", "detected_answers": []}]}',
            r"x.jsonl, line 1: qas\[0\], id 'q': no answer",
        ),
    ],
)
def test_files_of_another_kind_are_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        squad.load_squad({"train": tmp_path / name, "dev": tmp_path / name})


WORDS = [f"w{number}" for number in range(12)]


def small(folder: Path, unanswerable: bool) -> squad.Squad:
    """Eight questions on four contexts: which two words come after a word? It may not be there."""
    draw = np.random.default_rng(0)
    paragraphs = []
    for part in range(4):
        words = [WORDS[at] for at in draw.permutation(12)[:10]] + ["x"] * 20
        questions = []
        for turn in range(2):
            name, at = f"{part}-{turn}", 2 * turn + part
            answer = None if unanswerable and turn else f"{words[at + 1]} {words[at + 2]}"
            word = words[at] if answer else next(each for each in WORDS if each not in words)
            start = len(" ".join(words[: at + 1])) + 1
            questions.append(question(name, answer, start, f"after {word}"))
        paragraphs.append((" ".join(words), questions))
    file = write(folder / "small.json", *paragraphs, version="own")
    return squad.load_squad({"train": file, "dev": file})[0]


@pytest.mark.parametrize("unanswerable", [False, True], ids=["1.1", "2.0"])
@pytest.mark.parametrize("head", ["paper", "transformers"])
def test_eight_questions_are_learned(tmp_path: Path, head: Any, unanswerable: bool) -> None:
    problem = small(tmp_path, unanswerable)
    assert problem.unanswerable == unanswerable
    tokenizer = train_tokenizer([" ".join([*WORDS, "after", "x"])] * 3, 60)
    config = ClassicConfig(
        vocab_size=tokenizer.size, hidden_size=32, layers=2, heads=2, intermediate_size=64, embedding_size=16,
        max_positions=40, dropout=0.0, attention_dropout=0.0,
    )  # fmt: skip
    torch.manual_seed(0)
    reader = TowerReader(Tower.detection(config, build_embeddings(config)))
    net = FineTuned(reader, problem.head(reader, FineTuning(head=head, dropout=0.0)), seed=0)
    length = 24 if unanswerable else 40  # windows, of which those without an answer are learned too, or one
    source, dev = (ExampleSource(problem.examples(split, tokenizer, length), problem.targets, 0, 8, seed=0)
                   for split in ("train", "dev"))  # fmt: skip
    assert len(source.examples) == len(dev.examples) == (24 if unanswerable else 8)
    everything = source.batch(source.split_by_length(64)[0])
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    divisors = {"task": torch.tensor(float(everything.count))}
    for _ in range(800):
        optimizer.zero_grad()
        loss = net(everything, divisors, dropout=False, progress=torch.tensor(0.0))[0]
        loss.backward()
        optimizer.step()
        if loss < 0.02:
            break
    predictions = problem.predictions("dev", dev.examples, net.answers(dev, CPU))
    scores = problem.judge("dev", predictions)
    assert (scores["exact"], scores["f1"]) == (1.0, 1.0)
    assert set(scores) == {"exact", "f1"} | ({"best_exact", "best_f1", "threshold"} if unanswerable else set())
    texts = answers.select_answers(predictions, scores.get("threshold", 0.0))
    assert texts == {each.id: each.golds[0] if each.golds else "" for each in problem.questions["dev"]}
    assert json.loads(json.dumps(predictions)) == predictions


def test_a_length_without_room_is_refused(tmp_path: Path) -> None:
    problem = small(tmp_path, False)
    tokenizer = train_tokenizer([" ".join([*WORDS, "after", "x"])] * 3, 60)
    with pytest.raises(UserError, match="length 4: .* need 5 tokens"):
        problem.examples("train", tokenizer, 4)
    with pytest.raises(UserError, match="length 5: no window holds a whole answer of train"):
        problem.examples("train", tokenizer, 5)
    assert problem.examples("dev", tokenizer, 5)


def test_a_context_without_tokens_has_an_answer_of_nothing(tmp_path: Path) -> None:
    file = write(tmp_path / "x.json", GOOD, (" ", [question("a", None)]), version="v2.0")
    problem, _ = squad.load_squad({"train": file, "dev": file})
    tokenizer = train_tokenizer([CONTEXT] * 3, 200)
    examples = problem.examples("dev", tokenizer, 32)
    reader = TowerReader(Tower.detection(config := ClassicConfig(vocab_size=tokenizer.size), build_embeddings(config)))
    net = FineTuned(reader, problem.head(reader, FineTuning(head="transformers")), seed=0)
    spans_found = net.answers(ExampleSource(examples, problem.targets, tokenizer.ids["pad"], 8, seed=0), CPU)
    last = problem.predictions("dev", examples, spans_found)[-1]
    assert (last["text"], last["n_best"], last["score_null_minus_best"]) == ("", [], 0.0)


def row(name: str, texts: list[Any], starts: list[Any], **more: Any) -> dict[str, Any]:
    answers = {"text": texts, "answer_start": starts}
    return {"id": name, "title": "t", "context": CONTEXT, "question": "When?", "answers": answers, **more}


def rows_file(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


def test_a_question_a_row_is_read_as_datasets_has_it(tmp_path: Path) -> None:
    start = CONTEXT.index("1889")
    rows = row("a", ["1889", "in 1889"], [start, start - 3]), row("b", [], [])
    files = [rows_file(tmp_path / "a.jsonl", *rows), tmp_path / "a.json", tmp_path / "a.parquet"]
    files[1].write_text(json.dumps({"data": rows}))
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), files[2])
    for file in files:
        problem, notes = squad.load_squad({"train": file, "dev": file})
        assert notes == [] and problem.unanswerable
        first, second = problem.questions["train"]
        assert first.golds == ("1889", "in 1889") and first.answers[0] == ("1889", start, start + 4)
        assert second.impossible and not second.golds
    assert problem.account("dev", preview=True)[0].endswith(
        "2 questions about 1 texts: 1 with an answer, 1 without one"
    )
    bare = {name: value for name, value in rows[0].items() if name != "answers"}
    test = rows_file(tmp_path / "t.jsonl", bare, {**bare, "id": "c", "answers": None})
    problem, _ = squad.load_squad({"train": files[0], "dev": files[0], "test": test})
    assert [each.golds for each in problem.questions["test"]] == [(), ()]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (row("a", ["1889"], []), r"a.jsonl, line 1: 'answers': 1 under 'text', and 0 under 'answer_start'"),
        (row("a", ["1889"], [True]), r"'answer_start' is 'True', and should be a whole number"),
        (row("a", ["1889"], ["21"]), r"'answer_start' is '21', and should be a whole number"),
        (row("a", ["1788"], [0]), r"answer '1788' at 0 is not in its context"),
        (row("a", [""], [0]), r"answer '' at 0 is not in its context"),
        (row("a", "1889", 3), r"'text' is '1889', and should be a list"),
        (row("a", ["1889"], [21], is_impossible=True), r"answers, and is_impossible"),
        (row("a", [], [], is_impossible="no"), r"'is_impossible' is 'no', and should be true or false"),
        (row("a", [], [], question="\ud800"), r"line 1: 'question': text has half a surrogate pair"),
        ({"id": "a", "question": "b", "answers": None}, r"line 1: no 'context'"),
        ({"id": "a", "question": "b", "context": "c"}, r"line 1: no 'answers'"),
    ],
)
def test_rows_that_cannot_be_are_named(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    file = rows_file(tmp_path / "a.jsonl", row)
    with pytest.raises(UserError, match=message):
        squad.load_squad({"train": file, "dev": file})


def test_answers_of_dev_that_are_nowhere_in_their_text_are_told(tmp_path: Path) -> None:
    train = rows_file(tmp_path / "a.jsonl", row("a", ["1889"], [CONTEXT.index("1889")]))
    dev = rows_file(tmp_path / "b.jsonl", row("a", ["1788"], [0]))
    problem, notes = squad.load_squad({"train": train, "dev": dev})
    assert problem.questions["dev"][0].golds == ("1788",)
    assert notes == [f"{dev}: 1 answers are nowhere in their contexts; predictions cannot equal them"]


def test_values_of_one_name_and_no_numbers_are_refused(tmp_path: Path) -> None:
    for content, message in [
        ('{"data": [], "data": []}', r"a.json: not JSON: the key 'data' stands there twice"),
        ('{"data": NaN}', r"a.json: not JSON: NaN is no JSON value"),
        ("[" * 100000, r"a.json: not JSON"),
    ]:
        (tmp_path / "a.json").write_text(content)
        with pytest.raises(UserError, match=message):
            squad.load_squad({"train": tmp_path / "a.json", "dev": tmp_path / "a.json"})
