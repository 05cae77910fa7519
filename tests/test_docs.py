"""What the pages say can be followed: links, commands, flags, make's targets, files, and names of Python's.

Nothing is executed: a command line is read by the parser that would read it, in an empty folder. ``…`` stands for more
of the like and is left out; folders and files that a command names need not be there, but for its ``--config``.
"""

import ast
import importlib
import pkgutil
import re
import shlex
from collections.abc import Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import electra
from electra import cli, flags, recipes
from electra.config import key_types, load_config, overlay_config, plain_tree
from electra.errors import UserError

ROOT = Path(__file__).parents[1]
PAGES = [
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "examples/*.md", "results/**/*.md")
    for path in sorted(ROOT.glob(pattern))
]
SCRIPTS = [
    path
    for pattern in ("benchmarks/*.py", "examples/*.py", "tests/*.py", "tests/reliability/*.py")
    for path in ROOT.glob(pattern)
]
FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```[ \t]*$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^ {4,}\S[^\n]*(?:\n|\Z))+", re.MULTILINE)
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
COMMAND = re.compile(r"(?:^|\| |\btorchrun .* -m |\bpython -m )(electra [a-z].*)")
SHELL = "|;&<>"  # what ends a command
# Not ours, or made by the reader as the page tells.
OTHERS_FLAGS = {  # of torchrun, SLURM, pip, text-embeddings-inference
    "--nproc-per-node", "--max-restarts", "--signals-to-handle", "--signal", "--extra-index-url", "--pooling",
}  # fmt: skip
NOT_IN_PYTHON = {"electra.json", "electra.lock"}  # files of the program's


class Page(NamedTuple):
    """A page's prose without its blocks of code, the blocks (language, text), and what stands between backticks."""

    prose: str
    blocks: list[tuple[str, str]]
    spans: list[str]


@cache
def read_page(name: str) -> Page:
    text = re.sub(r"<!--.*?-->", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL)
    blocks = [(language, block) for _, language, block in FENCE.findall(text)]
    text = FENCE.sub("", text)
    blocks += [("", re.sub(r"^ {4}", "", block, flags=re.MULTILINE)) for block in INDENTED.findall(text)]
    prose = INDENTED.sub("", text)
    return Page(SPAN.sub("", prose), blocks, SPAN.findall(prose))


def list_lines(page: Page) -> Iterator[str]:
    """The lines of code on a page, those that go on after a backslash in one, and what stands between backticks."""
    for _, block in page.blocks:
        yield from re.sub(r"\\\n\s*", " ", block).splitlines()
    yield from page.spans


def list_commands(page: Page) -> Iterator[list[str]]:
    """The words of each command of ours on a page, ``electra`` left out."""
    for line in list_lines(page):
        if found := COMMAND.search(line.strip()):
            reader = shlex.shlex(found[1], posix=True, punctuation_chars=SHELL)
            reader.whitespace_split = True
            yield [word for word in takewhile(lambda word: not word or word[0] not in SHELL, reader) if word != "…"][1:]


@cache
def list_anchors(name: str) -> set[str]:
    """What GitHub calls the headings of a page."""
    text = FENCE.sub("", (ROOT / name).read_text(encoding="utf-8"))
    titles = [re.sub(r"[`*]|\]\([^)]*\)", "", title) for title in re.findall(r"^#+ +(.*?) *$", text, re.MULTILINE)]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    links = [link for link in LINK.findall(read_page(name).prose) if not re.match(r"https?:|mailto:", link)]
    for link in links:
        target, _, anchor = link.partition("#")
        path = (ROOT / name).parent / target if target else ROOT / name
        assert path.exists() and path.resolve().is_relative_to(ROOT), f"{name}: {link}: nothing there"
        page = path.resolve().relative_to(ROOT).as_posix()
        assert not anchor or anchor in list_anchors(page), f"{name}: {link}: no such heading"


def test_links_that_lead_nowhere_are_seen() -> None:
    assert LINK.findall("a [b [c]](d.md#e), ![f](g.png) and [h](i)") == ["d.md#e", "g.png", "i"]
    assert {"laws", "randomness-has-an-address"} <= list_anchors("docs/architecture.md")
    assert "adding-one" in list_anchors("docs/objectives.md") and "addingone" not in list_anchors("docs/objectives.md")


@pytest.fixture
def reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in; a folder that --init names is taken for one whose encoder has the preset's shape, and
    a checkpoint that --from names for one of a run with the default settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "lay_run_beneath", lambda *_: electra.PretrainConfig())
    monkeypatch.setattr(cli, "lay_shape_over", lambda base, *_: base)
    return tmp_path


def read_command(words: list[str], folder: Path) -> Any:
    """The config that a command line gives. Raises ``UserError`` where it is wrong."""
    name, *rest = words
    if name not in cli.VERBS:
        raise UserError(f"no command {name}")
    if "--config" in rest:
        (folder / rest[rest.index("--config") + 1]).write_text("{}", encoding="utf-8")
    return cli.resolve_command(name, cli.VERBS[name], rest)[1]


@pytest.mark.parametrize("name", PAGES)
def test_commands_are_read_by_the_command_line(name: str, reading: Path) -> None:
    for words in list_commands(read_page(name)):
        try:
            read_command(words, reading)
        except UserError as error:
            pytest.fail(f"{name}: electra {shlex.join(words)}: {error}")


def test_commands_that_are_wrong_are_seen(reading: Path) -> None:
    block = "cat a | electra score runs/s1 - | head   # b\ntorchrun x -m electra pretrain \\\n  --out 'o p'; ls …\n"
    page = Page("", [("", block)], ["electra.load", "electra finetune", "an electra run"])
    assert list(list_commands(page)) == [["score", "runs/s1", "-"], ["pretrain", "--out", "o p"], ["finetune"]]
    for wrong in (
        "explain runs/s1",
        "pretrain --objective.kinds mlm",
        "pretrain --tokens many",
        "finetune r --taks cola",
    ):
        with pytest.raises(UserError):
            read_command(wrong.split(), reading)
    assert sum(len(list(list_commands(read_page(name)))) for name in PAGES) > 80


@cache
def list_known_flags() -> set[str]:
    """The flags of every command, with every preset and every kind of every part."""
    known = {"--help", "--version", "--config", "--print-config", "--preset", *OTHERS_FLAGS}
    for verb in cli.VERBS.values():
        bases = [getattr(electra, verb.config)()]
        if verb.preset:
            bases += [load_config(bases[0], recipes.find_preset(name)) for name in recipes.list_presets()]
        for base in bases:
            known |= set(flags.list_flags(key_types(type(base), plain_tree(base))))
        for path, kinds in flags.list_choices(bases[0]).items():
            for kind in kinds:
                tree = flags.nest_values({f"{path}.kind": kind}, plain_tree(bases[0]))
                base = overlay_config(bases[0], tree, "test")
                known |= set(flags.list_flags(key_types(type(base), plain_tree(base))))
                known.add(f"{flags.flag_name(path)}.kind")
    return known


def has_flag(script: Path, flag: str) -> bool:
    """Whether a script names a flag, or what it makes a flag of."""
    text = script.read_text(encoding="utf-8")
    return f'"{flag}"' in text or ('f"--{' in text and f'"{flag.removeprefix("--")}"' in text)


@pytest.mark.parametrize("name", PAGES)
def test_flags_exist(name: str) -> None:
    for span in read_page(name).spans:
        for flag in re.findall(r"(?:^|\s)(--[a-z][\w.-]*)", span) if span.startswith("--") else ():
            known = flag in list_known_flags() or any(has_flag(script, flag) for script in SCRIPTS)
            assert known, f"{name}: `{span}`: no command has {flag}"


@pytest.mark.parametrize("name", PAGES)
def test_scripts_and_targets_exist(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for line in map(str.strip, list_lines(read_page(name))):
        if found := re.match(r"make ([a-z-]+)\b", line):
            assert found[1] in targets, f"{name}: {line}"
        if found := re.search(r"\bpython (\w[\w/]*\.py)((?: .*)?)$", line):
            script = ROOT / found[1]
            assert script.is_file(), f"{name}: {line}"
            for flag in re.findall(r"\s(--[\w-]+)", found[2].partition("#")[0]):
                assert has_flag(script, flag), f"{name}: {line}: no {flag}"


@cache
def list_files() -> list[str]:
    """The paths of the program's, tests' and benchmarks' files, from the root, with a slash before."""
    return [f"/{path.relative_to(ROOT).as_posix()}" for folder in ("src", "tests", "benchmarks", "examples", "docs")
            for path in (ROOT / folder).rglob("*.*")]  # fmt: skip


@pytest.mark.parametrize("name", [page for page in PAGES if page.startswith("docs/") or "/" not in page])
def test_files_and_names_are_there(name: str) -> None:
    page = read_page(name)
    for span in page.spans:
        if re.fullmatch(r"[a-z_]\w*(/\w+)*\.(py|cpp)", span):
            assert any(path.endswith(f"/{span}") for path in list_files()), f"{name}: {span}: no such file"
        if re.fullmatch(r"electra(\.\w+)+", span) and span not in NOT_IN_PYTHON:
            pkgutil.resolve_name(span)
        for called in re.findall(r"\belectra\.([A-Za-z]\w*)\(", span):
            assert hasattr(electra, called), f"{name}: {span}"
    for block in (block for language, block in page.blocks if language == "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "electra":
                module = importlib.import_module(node.module or "")
                assert all(hasattr(module, alias.name) for alias in node.names), f"{name}: {ast.unparse(node)}"
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "electra":
                assert hasattr(electra, node.attr), f"{name}: {ast.unparse(node)}"
