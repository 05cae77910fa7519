"""``electra score`` and ``electra detect`` as they are typed, against the definitions and transformers."""

import gzip
import io
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForPreTraining, AutoModelForTokenClassification, AutoTokenizer

from electra import cli
from electra.errors import UserError
from electra.interchange import huggingface
from electra.tasks.frozen.score_names import load_named_scorer
from electra.tokenization.kinds import TokenizerKind
from electra.tokenization.training import train_tokenizer
from electra.workflows.detect import DetectConfig, detect, list_words
from electra.workflows.inspect import InspectConfig, inspect
from electra.workflows.score import ScoreConfig, score
from processes import run_python
from scored import CONFIGS, LINES, LONG, SENTENCES, SIZES, TEXTS, finished

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=[config.values[0] for config in CONFIGS], ids=["classic", "modern"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of either kind, random weights."""
    tokenizer = train_tokenizer(TEXTS * 3, SIZES["vocab_size"])
    return finished(tmp_path_factory.mktemp("run"), request.param, tokenizer)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "lines.txt"
    path.write_text("".join(f"{line}\n" for line in LINES), encoding="utf-8")
    return path


def call(*words: str | Path) -> int:
    return cli.main([*map(str, words)])


def records(content: str) -> list[dict]:
    return [json.loads(line) for line in content.splitlines()]


@pytest.mark.parametrize("by", ["auto", "pseudo-log-likelihood", "within-word", "replaced-token"])
def test_score_gives_each_line_what_it_has_alone(
    by: str, run: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert call("score", run, file, "--by", by, "--batch", "64") == 0
    said, aside = capsys.readouterr()
    found = records(said)
    assert [(each["line"], each["text"]) for each in found] == list(enumerate(LINES, 1))
    where, scorer = load_named_scorer(run, by, CPU)  # type: ignore[arg-type]
    tower_of = "generator" if by in ("pseudo-log-likelihood", "within-word") else "discriminator"
    assert where == run / "final" / tower_of and f"final/{tower_of}: {scorer.name}\n" in aside
    for each in found:
        (expected,), (tokens,), _ = scorer.score_any([each["text"]])
        assert each["tokens"] == tokens
        assert each["score"] == (pytest.approx(expected, abs=1e-5 * tokens) if tokens else None)
    assert [each["line"] for each in found if each["score"] is None] == [5, 8]
    assert "lines without a token: no score: 2 (first: line 5)" in aside
    assert "judged in windows that overlap: 1 (first: line 7)" in aside


def test_standard_input_and_files_of_any_kind_give_the_same(
    run: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "lines.txt.gz").write_bytes(gzip.compress(file.read_bytes()))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(file.read_bytes()))))
    outs = []
    for number, source in enumerate((file, tmp_path / "lines.txt.gz", "-")):
        out = tmp_path / f"{number}.jsonl"
        assert call("detect", run, source, "--out", out) == 0
        outs.append(out.read_text())
    assert outs[0] == outs[1] == outs[2] and len(records(outs[0])) == len(LINES)
    assert capsys.readouterr().out == ""
    assert call("detect", run, file, "--out", tmp_path / "0.jsonl") == 2
    assert "is there already" in capsys.readouterr().err


def test_detect_is_transformers_by_word(run: Path, file: Path, capsys: pytest.CaptureFixture) -> None:
    figures = detect(DetectConfig(str(run), str(file), batch=64))
    found = records(capsys.readouterr().out)
    assert [(each["line"], each["text"]) for each in found] == list(enumerate(LINES, 1))
    folder = run / "final" / "discriminator"
    is_modern = "modernbert" in (folder / "config.json").read_text()
    model = (AutoModelForTokenClassification if is_modern else AutoModelForPreTraining).from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, split_special_tokens=True)
    tokens = 0
    for each in found:
        assert all(each["text"][word["start"] : word["end"]] == word["word"] for word in each["words"])
        if each["text"] == LONG:
            continue
        rows = tokenizer(each["text"], return_tensors="pt")
        with torch.no_grad():
            logits = model(**rows).logits
        theirs = logits.softmax(-1)[0, :, 1] if is_modern else logits[0].sigmoid()
        words: dict[int, list[int]] = {}
        for place, number in enumerate(rows.word_ids()):
            if number is not None:
                words.setdefault(number, []).append(place)
        assert [word["replaced"] for word in each["words"]] == pytest.approx(
            [theirs[places].max().item() for places in words.values()], abs=1e-5
        )
        assert [(word["start"], word["end"]) for word in each["words"]] == [tuple(rows.word_to_chars(n)) for n in words]
        tokens += len(rows.input_ids[0]) - 2
    assert figures.lines == len(LINES) and figures.tokens > tokens > 50
    assert [len(each["words"]) for each in found if each["text"] in ("", "\u200b")] == [0, 0]


def test_detect_and_inspect_say_the_same(run: Path, file: Path, capsys: pytest.CaptureFixture) -> None:
    (pieces,) = inspect(InspectConfig(run=str(run), texts=(LONG,), json=True))
    capsys.readouterr()
    detect(DetectConfig(str(run), str(file)))
    words = next(each["words"] for each in records(capsys.readouterr().out) if each["text"] == LONG)
    highest: list[float] = []
    for token, replaced in pieces:
        if token.startswith("##"):
            highest[-1] = max(highest[-1], replaced)
        else:
            highest.append(replaced)
    assert len(pieces) > len(words) and [word["replaced"] for word in words] == pytest.approx(highest, abs=1e-5)


@pytest.mark.parametrize("kind", ["word-piece", "byte-bpe", "unigram"])
def test_words_are_where_they_stand_whatever_the_tokenizer(kind: TokenizerKind) -> None:
    tokenizer = train_tokenizer([*TEXTS, "Ça été à Zürich, naïve 🙂 smile"] * 3, 400, kind)
    text = " The  cats, été Zürich 🙂 dogs "
    (encoding,) = tokenizer.backend.encode_batch([text], add_special_tokens=False)
    replaced = torch.arange(len(encoding.ids), dtype=torch.float32).numpy() / 100
    words = list(list_words(text, encoding, replaced))
    assert all(text[each["start"] : each["end"]] == each["word"] == each["word"].strip() for each in words)
    ends = [0, *(each["end"] for each in words)]
    between = [text[end : each["start"]] for end, each in zip(ends, words, strict=False)]
    assert "".join(between).strip() == "", "no character is left out, and none is in two words"
    assert [each["word"] for each in words][-3:] == ["Zürich", "🙂", "dogs"]
    assert [each["replaced"] for each in words] == sorted(each["replaced"] for each in words)
    of_first = [value for value, (start, _) in zip(replaced.tolist(), encoding.offsets, strict=True) if start < 4]
    assert words[0]["word"] == "The" and words[0]["replaced"] == pytest.approx(max(of_first))


def test_bfloat16_products_give_float32_scores(run: Path, file: Path, capsys: pytest.CaptureFixture) -> None:
    score(ScoreConfig(str(run), str(file), by="pseudo-log-likelihood"))
    exact = records(capsys.readouterr().out)
    score(ScoreConfig(str(run), str(file), by="pseudo-log-likelihood", precision="bfloat16"))
    rounded = records(capsys.readouterr().out)
    pairs = [(one["score"], other["score"]) for one, other in zip(exact, rounded, strict=True) if one["score"]]
    for one, other in pairs:
        assert one == pytest.approx(other, rel=0.05)
    assert any(one != other for one, other in pairs)
    fine = [value for _, value in pairs if value != torch.tensor(value).bfloat16().item()]
    assert len(fine) > len(pairs) / 2, "results are not rounded to the products' type"


def test_a_model_without_the_head_is_named(run: Path, file: Path, tmp_path: Path) -> None:
    generator, discriminator = (run / "final" / name for name in ("generator", "discriminator"))
    with pytest.raises(UserError, match=r"no model with the score energy: discriminator has replaced-token; generator"):
        score(ScoreConfig(str(run), str(file), by="energy", out=str(tmp_path / "out")))
    with pytest.raises(UserError, match="no model with the score within-word: discriminator has replaced-token$"):
        score(ScoreConfig(str(discriminator), str(file), by="within-word"))
    with pytest.raises(UserError, match="generator: a generator: it predicts tokens"):
        detect(DetectConfig(str(generator), str(file), out=str(tmp_path / "out")))
    for verb, config in ((score, ScoreConfig), (detect, DetectConfig)):
        with pytest.raises(UserError, match=r"which model and file\?"):
            verb(config(str(run)))
        with pytest.raises(UserError, match="absent: No such file"):
            verb(config(str(run), "absent"))
        with pytest.raises(UserError, match="no (model|discriminator) here"):
            verb(config(str(tmp_path), str(file)))
    assert list(tmp_path.iterdir()) == []


def test_electric_is_scored_by_energies_and_detects_nothing(run: Path, tmp_path: Path, file: Path) -> None:
    electric = shutil.copytree(run / "final" / "discriminator", tmp_path / "electric")
    said = json.loads((electric / "config.json").read_text())
    (electric / "config.json").write_text(json.dumps(said | {huggingface.OBJECTIVE_KEY: "electric"}))
    for by in ("auto", "energy"):
        assert load_named_scorer(electric, by, CPU)[1].name == "minus energy"  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no model with the score replaced-token: electric has energy"):
        score(ScoreConfig(str(electric), str(file), by="replaced-token"))
    with pytest.raises(UserError, match="its head gives energies"):
        detect(DetectConfig(str(electric), str(file)))


def test_the_page_does_what_it_says(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The programs in docs/scoring.md: the best of each ten, and every line or what is odd in it."""
    monkeypatch.chdir(tmp_path)
    texts = [f"{text} {number}" for number in range(2) for text in SENTENCES[:9]]
    texts.insert(4, "")
    Path("lines.txt").write_text("\n".join([*texts, ""]))
    score(ScoreConfig(str(run), "lines.txt", out="scores.jsonl"))
    detect(DetectConfig(str(run), "lines.txt", out="words.jsonl"))
    page = (Path(__file__).parents[2] / "docs" / "scoring.md").read_text()
    rerank, show = (part.partition("```")[0] for part in page.split("```python\n")[1:])
    capsys.readouterr()
    exec(rerank, {})
    scores = {each["text"]: each["score"] for each in records(Path("scores.jsonl").read_text())}
    groups = [[text for text in texts[start : start + 10] if text] for start in (0, 10)]
    assert capsys.readouterr().out.splitlines() == [max(group, key=scores.__getitem__) for group in groups]
    exec(show, {})
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == len(texts)
    for text, line, each in zip(texts, shown, records(Path("words.jsonl").read_text()), strict=True):
        odd = [word["replaced"] > 0.5 for word in each["words"]]
        assert line.startswith(f"line {each['line']}: ") if sum(odd) > 0.1 * len(odd) else line == text


def test_whoever_stops_reading_ends_it_quietly(run: Path, file: Path) -> None:
    code = f"""
import os, sys
reading, writing = os.pipe()
os.close(reading)
os.dup2(writing, 1)
from electra import cli
sys.exit(cli.main(["score", {str(run)!r}, {str(file)!r}]))
"""
    ended = run_python(code)
    assert ended.code == 141 and "Traceback" not in ended.err
