"""Layers of a config: preset, file, flags; each error names its place in one line."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from electra import config, flags
from electra.errors import UserError


@dataclass(frozen=True)
class Adam:
    kind: Literal["adam"] = "adam"
    learning_rate: float = 1e-3


@dataclass(frozen=True)
class Muon:
    kind: Literal["muon"] = "muon"
    momentum: float = 0.9
    rest: Adam = field(default_factory=Adam)


@dataclass(frozen=True)
class Phase:
    steps: int = 10
    rows: int = 32


@dataclass(frozen=True)
class Run:
    """Train something."""

    folder: str = ""
    """Where it goes."""
    texts: tuple[str, ...] = ()
    optimizer: Adam | Muon = field(default_factory=Adam)
    phases: tuple[Phase, ...] = (Phase(),)
    tokens: int = 0
    limit: int | None = None
    loud: bool = False
    mode: Literal["fast", "exact"] = "exact"

    def __post_init__(self) -> None:
        if self.tokens < 0:
            raise ValueError("tokens: less than none")


def parse(base: Run, *arguments: str) -> Run:
    return flags.parse_flags(base, arguments, "electra run", "Train something.", ("folder", "texts"))


def from_file(folder: Path, text: str, base: Run | None = None, name: str = "my.yaml") -> Run:
    (folder / name).write_text(text)
    return config.load_config(base or Run(), folder / name)


def test_layers_in_order(tmp_path):
    preset = Run(optimizer=Adam(learning_rate=0.1), tokens=5, mode="fast")
    laid = from_file(tmp_path, "tokens: 6\noptimizer: {learning_rate: 0.2}\n", preset)
    assert laid == replace(preset, tokens=6, optimizer=Adam(learning_rate=0.2))
    assert parse(laid, "--tokens", "7") == replace(laid, tokens=7)


@pytest.mark.parametrize("name", ["my.yaml", "my.toml", "my.json"])
def test_every_format(tmp_path, name):
    text = {
        "my.yaml": "tokens: 2e9\nphases: [{steps: 3}]",
        "my.toml": "tokens = 2e9\n[[phases]]\nsteps = 3",
        "my.json": '{"tokens": 2e9, "phases": [{"steps": 3}]}',
    }[name]
    assert from_file(tmp_path, text, name=name) == Run(tokens=2_000_000_000, phases=(Phase(steps=3),))


def test_another_kind_starts_from_its_own_defaults(tmp_path):
    base = Run(optimizer=Adam(learning_rate=7.0))
    assert from_file(tmp_path, "optimizer: {kind: adam}", base) == base
    assert from_file(tmp_path, "optimizer: {kind: muon, rest: {learning_rate: 1e-2}}", base).optimizer == Muon(
        rest=Adam(learning_rate=0.01)
    )
    assert parse(base, "--optimizer.momentum", "0.5", "--optimizer.kind=muon").optimizer == Muon(momentum=0.5)
    assert parse(Run(optimizer=Muon(momentum=0.1)), "--optimizer.kind", "muon").optimizer == Muon(momentum=0.1)


def test_entries_of_a_list_lie_over_those_of_the_preset(tmp_path):
    base = Run(phases=(Phase(1, 2), Phase(3, 4)))
    assert from_file(tmp_path, "phases: [{steps: 5}, {}, {steps: 6}]", base).phases == (
        Phase(5, 2), Phase(3, 4), Phase(6, 4),
    )  # fmt: skip
    assert parse(base, "--phases.1.rows", "9").phases == (Phase(1, 2), Phase(3, 9))


def test_an_empty_file_changes_nothing(tmp_path):
    assert from_file(tmp_path, "# nothing yet\n") == Run()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tokns: 1", "unknown key tokns; did you mean tokens?"),
        ("learning_rate: 1", "unknown key learning_rate; did you mean optimizer.learning_rate?"),
        ("optimizer: {momentum: 1}", "unknown key optimizer.momentum"),
        ("phases: [{}, {step: 1}]", "unknown key phases.1.step; did you mean steps?"),
        ("optimizer: {kind: adm}", "optimizer.kind: 'adm'; one of adam, muon; did you mean adam?"),
        ("optimizer: {learning_rate: fast}", "optimizer.learning_rate: expected a number, found 'fast'"),
        ("tokens: 1.5", "tokens: expected a whole number, found 1.5"),
        ("tokens: true", "tokens: expected a whole number, found True"),
        ("tokens: -1", "config: tokens: less than none"),
        ("limit: x", "limit: expected a whole number or nothing, found 'x'"),
        ("mode: quick", "mode: expected one of fast, exact, found 'quick'"),
        ("texts: one", "texts: expected a list of text, found 'one'"),
        ("phases: 3", "phases: expected a list of keys with values, found 3"),
        ("optimizer: adam", "optimizer: expected keys with values, found 'adam'"),
        ("- 1", "expected keys with values, found list"),
        ("1: 2", "unknown key 1"),
    ],
)
def test_errors_name_file_and_key(tmp_path, text, message):
    with pytest.raises(UserError) as caught:
        from_file(tmp_path, text)
    said = str(caught.value)
    assert said.startswith(f"{tmp_path / 'my.yaml'}: {message}")
    assert "\n" not in said


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"absent\.yaml: No such file"):
        config.load_config(Run(), tmp_path / "absent.yaml")
    with pytest.raises(UserError, match="line 2"):
        from_file(tmp_path, "tokens: 1\n: [")
    with pytest.raises(UserError, match="is named"):
        from_file(tmp_path, "", name="my.ini")
    (tmp_path / "bytes.yaml").write_bytes(b"a: \xff")
    with pytest.raises(UserError, match="not UTF-8 at byte 3"):
        config.load_config(Run(), tmp_path / "bytes.yaml")


def test_flags_of_every_sort():
    assert parse(
        Run(), "runs/a", "one", "two words", "--tokens=2e9", "--limit", "3", "--loud", "--optimizer.learning_rate=1e-4"
    ) == Run("runs/a", ("one", "two words"), Adam(learning_rate=1e-4), tokens=2 * 10**9, limit=3, loud=True)
    assert parse(Run(loud=True), "--no-loud").loud is False
    assert parse(Run(), "--loud", "runs/a") == Run("runs/a", loud=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tokns", "3"], "unknown flag --tokns; did you mean --tokens?"),
        (["--tokns=3"], "unknown flag --tokns; did you mean --tokens?"),
        (["--learning-rate", "3"], "unknown flag --learning-rate; did you mean --optimizer.learning-rate?"),
        (["--momentum", "3"], "unknown flag --momentum"),
        (["--optimiser.kind", "muon"], "unknown flag --optimiser.kind; did you mean --optimizer.kind?"),
        (["--optimizer.kind", "mun"], "flags: optimizer.kind: 'mun'; one of adam, muon; did you mean muon?"),
        (["--optimizer.kind"], "--optimizer.kind: a kind must follow"),
        (["--optimizer.learning-rate", "x"], "--optimizer.learning-rate: could not convert string to float: 'x'"),
        (["--tokens", "1.5"], "--tokens: invalid literal for int() with base 10: '1.5'"),
        (["--tokens"], "Missing value for argument '--tokens'"),
        (["--tokens", "-1"], "tokens: less than none"),
        (["-x"], "Unrecognized options: -x"),
    ],
)
def test_flag_errors_are_one_line(arguments, message):
    with pytest.raises(UserError) as caught:
        parse(Run(), *arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_help_shows_the_defaults_of_the_layers_below(capsys):
    with pytest.raises(SystemExit) as stop:
        parse(Run(optimizer=Adam(learning_rate=0.123)), "--help")
    said = capsys.readouterr().out
    assert stop.value.code == 0
    assert "Train something." in said
    assert "0.123" in said
    assert "Where it goes." in said
    assert "FOLDER" in said
    assert "--optimizer.kind adam|muon" in said


optimizers = st.one_of(
    st.builds(Adam, learning_rate=st.floats(allow_nan=False)),
    st.builds(Muon, momentum=st.floats(allow_nan=False), rest=st.builds(Adam, learning_rate=st.floats(1e-30, 1.0))),
)


@settings(deadline=None)
@given(
    st.builds(
        Run,
        folder=st.text(),
        texts=st.lists(st.text()).map(tuple),
        optimizer=optimizers,
        phases=st.lists(st.builds(Phase, steps=st.integers(), rows=st.integers())).map(tuple),
        tokens=st.integers(0, 10**15),
        limit=st.none() | st.integers(),
        loud=st.booleans(),
        mode=st.sampled_from(["fast", "exact"]),
    )
)
def test_what_is_dumped_loads_back(tmp_path_factory, made):
    file = tmp_path_factory.getbasetemp() / "dumped.yaml"
    file.write_text(config.dump_config(made), encoding="utf-8")
    assert config.load_config(Run(), file) == made
