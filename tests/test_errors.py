"""What a person reads stays in a line, steers no terminal, and tells no password."""

import json
import pickle
from pathlib import Path

import pytest

from electra import cli
from electra.corpus.prepare import PrepareConfig, prepare
from electra.corpus.train_tokenizer import TokenizerConfig, tokenizer
from electra.errors import UserError, convert_errors, escape_controls, hide_secrets
from electra.progress import Progress, print_warnings
from electra.report.tables import format_markdown, format_table
from electra.workflows.data import DataConfig, data
from electra.workflows.finetune import FinetuneConfig, finetune

STEERING = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\x08\u202egnp.exe\u2066\u200f\x7f"
UNSEEN = set(STEERING) - set("]0;owned[2Jgnp.exe31m")


def steers(said: str) -> bool:
    return bool(UNSEEN & set(said))


def test_control_characters_are_written_out() -> None:
    assert escape_controls("a\x1b[31mb\r\n\tc\x9b\u202e\u2028\udc80é–日本") == (
        r"a\x1b[31mb\r\n\tc\x9b\u202e\u2028\udc80é–日本"
    )
    assert not steers(escape_controls(STEERING)) and escape_controls(escape_controls(STEERING)) == escape_controls(
        STEERING
    )


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("https://me:pw@host/x.txt: no such file", "https://…@host/x.txt: no such file"),
        ("wiki=ftp://me@host/x", "wiki=ftp://…@host/x"),
        ("s3://bucket/part-?.txt", "s3://bucket/part-?.txt"),
        ("s3://bucket/x?X-Amz-Signature=secret", "s3://bucket/x?…"),
        ("https://h/x?secret: 404", "https://h/x?…: 404"),
        ("zip://*.txt::https://me:pw@h/f?token=secret", "zip://*.txt::https://…@h/f?…"),
        ("(https://me:p/w@h/f, https://me:pw@[::1]:80/a)", "(https://…@h/f, https://…@[::1]:80/a)"),
        ("url='http://h:80/#access_token=secret' failed", "url='http://h:80/#…' failed"),
        ("which? see https://h/a.", "which? see https://h/a."),
    ],
)
def test_addresses_are_told_without_passwords_and_queries(said: str, told: str) -> None:
    assert hide_secrets(said) == told and str(UserError(said)) == told and str(UserError(told)) == told
    with pytest.raises(UserError) as raised, convert_errors("there", ValueError):
        raise ValueError(f"{said} \n more")
    assert str(raised.value) == f"there: {told} more"


def test_an_error_is_one_line_in_every_process() -> None:
    error = UserError(f"a\nb {STEERING}")
    assert str(pickle.loads(pickle.dumps(error))) == str(error) and "\n" not in str(error) and not steers(str(error))


def test_what_a_corpus_holds_steers_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    name = f"a{STEERING}.jsonl".replace("\x00", "")
    texts = [f"word number {n} {STEERING} and more words" for n in range(200)]
    (tmp_path / name).write_text("".join(json.dumps({"text": text}) + "\n" for text in texts) + "no JSON\n")
    given = (str(tmp_path),)
    tokenizer(TokenizerConfig(data=given, out=str(tmp_path / "tok"), kind="byte-bpe", vocab_size=400))
    asked = PrepareConfig(data=given, tokenizer=str(tmp_path / "tok"), out=str(tmp_path / "data"), held_out=0.2)
    prepare(PrepareConfig(**vars(asked) | {"preview": 2}))
    prepare(asked)
    data(DataConfig(data=str(tmp_path / "data"), histogram=""))
    said = capsys.readouterr()
    assert "number" in said.out and r"\x1b" in said.out and r"\u202e" in said.out
    assert not steers(said.out) and not steers(said.err)
    assert cli.main(["prepare", "--data", str(tmp_path / name), "--tokenizer", str(tmp_path / "tok"),
                     "--out", str(tmp_path / "no"), "--field", "text\x1b[31m"]) == 2  # fmt: skip
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("electra: error: ") and r"no text under 'text\x1b[31m'" in error
    assert error.count("electra: error:") == 1 and not steers(error)


def test_what_labelled_files_hold_steers_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "train.csv").write_text("text,label\none,a\ntwo,b\n")
    (tmp_path / "dev.csv").write_text(f"text,label\none,{STEERING.replace(chr(13), '')}\n")
    asked = FinetuneConfig(
        model=str(tmp_path), out=str(tmp_path / "ft"), train=str(tmp_path / "train.csv"), dev=str(tmp_path / "dev.csv")
    )
    with pytest.raises(UserError, match=r"dev.csv, line 2: label") as raised:
        finetune(asked)
    assert not steers(str(raised.value))
    print_warnings([STEERING])
    print(format_table([STEERING], [[STEERING]]), format_markdown([STEERING], [[STEERING]]))
    with Progress(STEERING, 1, "runs") as progress:
        progress.update(1, STEERING)
    said = capsys.readouterr()
    assert "owned" in said.out and "owned" in said.err and not steers(said.out + said.err)


def test_a_picture_stays_within_the_folder(tmp_path: Path, prepared: Path) -> None:
    with pytest.raises(UserError, match="--histogram '../x.png': becomes a"):
        data(DataConfig(data=str(prepared), rows=0, samples=0, histogram="../x.png"))
