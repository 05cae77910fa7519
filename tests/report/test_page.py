"""The page of inspected texts: text stays text, nothing is fetched, and the file is whole or absent."""

from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from electra.errors import UserError
from electra.interchange import huggingface
from electra.model.config import ClassicConfig
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower
from electra.report.page import render_page
from electra.tokenization.training import train_tokenizer
from electra.workflows import inspect as workflow
from electra.workflows.inspect import InspectConfig, inspect

TEXT = "the chef ate the meal"


class Read(HTMLParser):
    """The tags of a page, and each paragraph's text and its tokens."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[str] = []
        self.paragraphs: list[str] = []
        self.tokens: list[list[tuple[str, dict[str, str | None]]]] = []
        self.inside, self.at = False, dict[str, str | None]()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "p":
            assert dict(attrs) == {"dir": "auto"}
            self.inside = True
            self.paragraphs.append("")
            self.tokens.append([])
        self.at = dict(attrs) if tag == "span" else {}

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "p"
        self.at = {}

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.paragraphs[-1] += data
        if self.at:
            self.tokens[-1].append((data, self.at))


def test_pieces_are_joined_and_each_has_its_colour() -> None:
    page = Read(render_page([[("the", 0.01), ("ch", 0.5), ("##ef", 0.875), (".", 1.0)], [("one", 0.0)], []]))
    assert page.paragraphs == ["the chef .", "one", ""]
    assert [word for word, _ in page.tokens[0]] == ["the", "ch", "ef", "."]
    assert page.tokens[0][2][1] == {"style": "--p:0.875", "title": "0.875"}


@pytest.mark.parametrize(
    "token",
    ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "&amp;", "</p>", "100%", "%s", "שלום", "e\u0301"],
)
def test_text_is_text_whatever_it_says(token: str) -> None:
    page, plain = Read(render_page([[("a", 0.5), (token, 0.5)]])), Read(render_page([[("a", 0.5), ("b", 0.5)]]))
    assert page.tags == plain.tags and "script" not in page.tags
    assert page.paragraphs == [f"a {token}"]


def test_a_mark_stays_with_its_letter() -> None:
    assert Read(render_page([[("e", 0.1), ("##\u0301", 0.9), ("##\u05dc", 0.9)]])).paragraphs == ["e\u0301\u05dc"]


def test_nothing_is_fetched_and_both_modes_are_known() -> None:
    html = render_page([[("a", 0.5)]])
    assert "http:" not in html and "https:" not in html and "url(" not in html and "src=" not in html
    assert "default-src 'none'" in html and "color-scheme: light dark" in html and '<meta charset="utf-8">' in html


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a fresh discriminator."""
    folder = tmp_path_factory.mktemp("run")
    tokenizer = train_tokenizer([TEXT, "<script> alert </script>"] * 2, 100)
    config = ClassicConfig(
        vocab_size=tokenizer.size, hidden_size=32, layers=1, heads=2, intermediate_size=64, embedding_size=16
    )
    torch.manual_seed(0)
    tokenizer.save(folder / "tokenizer")
    tower = Tower.detection(config, build_embeddings(config))
    huggingface.save_tower(folder / "discriminator", tower, folder / "tokenizer", None)
    return folder


def test_inspect_writes_the_page(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "page.html"
    texts = (TEXT, "<script> alert </script>")
    seen = inspect(InspectConfig(run=str(run), texts=texts, json=True, html=str(path)))
    output = capsys.readouterr()
    assert str(path) in output.err and str(path) not in output.out and len(output.out.splitlines()) == 2
    assert path.read_text(encoding="utf-8") == render_page(seen)
    page = Read(path.read_text(encoding="utf-8"))
    assert page.paragraphs == [TEXT, "< script > alert < / script >"] and "script" not in page.tags


def test_a_page_is_whole_or_absent(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"run": str(run), "texts": (TEXT,)}
    for wrong in (tmp_path / "none" / "page.html", tmp_path, Path(".")):
        with pytest.raises(UserError, match=f"^{wrong}: "):
            inspect(InspectConfig(**settings, html=str(wrong)))
    path = tmp_path / "page.html"
    path.write_text("before")

    def full(texts: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(workflow, "render_page", full)
    with pytest.raises(UserError, match="page.html: No space left on device"):
        inspect(InspectConfig(**settings, html=str(path)))
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"] and path.read_text() == "before"
