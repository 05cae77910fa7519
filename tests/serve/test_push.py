"""``electra export --push``: huggingface_hub itself, against a server on this machine; every byte arrives."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from electra import cli
from electra.tokenization.training import train_tokenizer
from finetuning import CLASSIC, exported, sentences

sys.path.insert(0, str(Path(__file__).parent))
from hub import NAME, TOKEN, Hub, serve_hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    with serve_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # a protocol of the Hub's own, beside LFS
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nowhere/token")
        yield server


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train_tokenizer([text for text, _ in sentences(300, 0)], 120).save(folder / "tok")
    exported(folder / "discriminator", CLASSIC, folder / "tok")
    return folder


def push(run: Path, out: Path, *flags: str) -> int:
    return cli.main(["export", str(run), "--out", str(out), "--push", NAME, *flags])


def read_files(folder: Path) -> dict[str, bytes]:
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: content for name, content in files.items() if not name.endswith("electra.json")}


@pytest.mark.parametrize("flags", [("--as", "encoder"), ("--private",)], ids=["one model", "a folder for each"])
def test_every_byte_arrives(hub: Hub, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture, flags: tuple) -> None:
    assert push(run, tmp_path / "hub", *flags) == 0, capsys.readouterr().err
    written = read_files(tmp_path / "hub")
    assert hub.files == written and any(name.endswith("model.safetensors") for name in written)
    assert [len(data) for data in hub.objects.values()] == [
        len(data) for name, data in written.items() if name.endswith(".safetensors")
    ]
    assert (hub.created["organization"], hub.created["name"]) == ("org", "some.model-1")
    assert (hub.created.get("visibility") == "private") == ("--private" in flags)
    assert f"pushed: {hub.repository}/commit/" in capsys.readouterr().out
    assert f'snapshot_download("{NAME}")'.encode() in b"".join(written.values())


@pytest.mark.parametrize(
    ("call", "status", "complaint"),
    [
        ("create", 403, "the Hub says 403"),
        ("commit", 409, "the Hub says 409"),
        ("batch", 401, "401"),
    ],
)
def test_what_the_hub_refuses_is_said_and_the_folder_stays(
    hub: Hub, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture, call: str, status: int, complaint: str
) -> None:
    hub.refuse[call] = status
    assert push(run, tmp_path / "hub", "--as", "encoder") == 2
    refuse_in_one_line(tmp_path, capsys, complaint)
    assert not hub.commits


def refuse_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture, complaint: str) -> None:
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("electra: ")]
    assert len(errors) == 1 and complaint in errors[0] and f"--push {NAME}" in errors[0], errors
    assert "hub is written, not pushed" in errors[0]
    assert (tmp_path / "hub" / "model.safetensors").is_file()


def test_without_a_right_token_or_a_network_the_folder_stays(
    hub: Hub, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, (name, value, complaint) in enumerate((
        ("HF_TOKEN", "hf_wrong", "Invalid credentials"),
        ("HF_TOKEN", "", "no token; `hf auth login`, or set HF_TOKEN"),
        ("HF_ENDPOINT", "http://127.0.0.1:9", "refused"),
    )):  # fmt: skip
        with monkeypatch.context() as changed:
            changed.setenv(name, value)
            assert push(run, tmp_path / str(number) / "hub", "--as", "encoder") == 2
        refuse_in_one_line(tmp_path / str(number), capsys, complaint)


def test_a_repository_that_is_there_is_filled(hub: Hub, run: Path, tmp_path: Path) -> None:
    hub.refuse["create"] = 409
    assert push(run, tmp_path / "hub", "--as", "encoder") == 0
    assert hub.files == read_files(tmp_path / "hub")


def test_where_the_library_is_missing_the_extra_is_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert push(run, tmp_path / "hub") == 2
    assert "pip install 'electra[serve]'" in capsys.readouterr().err
    assert not (tmp_path / "hub").exists()
