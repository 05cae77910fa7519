"""Layers of a config: preset, file, flags; each error names its place in one line."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import electra
from electra import cli, config, flags
from electra.config_types import ByKind, field_types, number_range
from electra.errors import UserError
from electra.ranges import Count, FractionBelowOne, Positive, Range

AnyWhole = Annotated[int, Range()]


@dataclass(frozen=True)
class Adam:
    kind: Literal["adam"] = "adam"
    learning_rate: Positive = 1e-3


@dataclass(frozen=True)
class Muon:
    kind: Literal["muon"] = "muon"
    momentum: FractionBelowOne = 0.9
    rest: Adam = field(default_factory=Adam)


@dataclass(frozen=True)
class Phase:
    steps: Count = 10
    rows: Count = 32


@dataclass(frozen=True)
class Data:
    kind: Literal["text", "tags"] = "text"  # a setting like any other: it chooses no class
    file: str = ""


@dataclass(frozen=True)
class Run:
    """Train something."""

    folder: str = ""
    """Where it goes."""
    texts: tuple[str, ...] = ()
    optimizer: Annotated[Adam | Muon, ByKind()] = field(default_factory=Adam)
    phases: tuple[Phase, ...] = (Phase(),)
    data: Data = field(default_factory=Data)
    tokens: AnyWhole = 0
    limit: Count | None = None
    rates: tuple[Positive, ...] = ()
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


@dataclass(frozen=True)
class Mlm:
    kind: Literal["mlm"] = "mlm"
    mask_rate: Positive = 0.15
    weight: Positive = 1.0
    share: Positive = 0.5
    spans: bool = False


@dataclass(frozen=True)
class Electra:
    kind: Literal["electra"] = "electra"
    mask_rate: Positive = 0.15
    weight: Positive = 50.0  # of another default
    share: Count = 1  # of another type
    sampled: bool = True


@dataclass(frozen=True)
class Trial:
    objective: Annotated[Mlm | Electra, ByKind()] = field(default_factory=Mlm)


def test_another_kind_keeps_what_both_have_with_the_same_default(tmp_path):
    preset = Trial(Electra(mask_rate=0.3, weight=10.0, share=7, sampled=False))
    for tree, right in [
        ({"kind": "mlm"}, Mlm(mask_rate=0.3)),
        ({"kind": "mlm", "spans": True}, Mlm(mask_rate=0.3, spans=True)),
        ({"kind": "mlm", "mask_rate": 0.4, "weight": 2.0}, Mlm(mask_rate=0.4, weight=2.0)),
    ]:
        assert config.overlay_config(preset, {"objective": tree}, "here").objective == right
    typed = flags.parse_flags(preset, ("--objective.kind", "mlm"), "electra run", "Train something.", ())
    assert typed.objective == Mlm(mask_rate=0.3)


def test_a_kind_that_chooses_no_class_is_a_setting(tmp_path):
    base = Run(data=Data(file="my.conll"))
    assert from_file(tmp_path, "data: {kind: tags}", base).data == Data("tags", "my.conll")
    assert parse(base, "--data.kind", "tags").data == Data("tags", "my.conll")
    with pytest.raises(UserError, match=r"flags: data\.kind: expected one of text, tags, found 'tag'"):
        parse(base, "--data.kind", "tag")


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
        ("optimizer: {learning_rate: fast}", "optimizer.learning_rate: expected a number above 0, found 'fast'"),
        ("tokens: 1.5", "tokens: expected a whole number, found 1.5"),
        ("tokens: true", "tokens: expected a whole number, found True"),
        ("tokens: -1", "config: tokens: less than none"),
        ("limit: x", "limit: expected a whole number of at least 1 or nothing, found 'x'"),
        ("limit: 0", "limit: expected a whole number of at least 1 or nothing, found 0"),
        ("optimizer: {learning_rate: 0}", "optimizer.learning_rate: expected a number above 0, found 0"),
        ("optimizer: {learning_rate: .nan}", "optimizer.learning_rate: expected a number above 0, found nan"),
        ("optimizer: {kind: muon, momentum: 1}", "optimizer.momentum: expected a number of at least 0 and below 1, f"),
        ("phases: [{}, {steps: 0}]", "phases.1.steps: expected a whole number of at least 1, found 0"),
        ("rates: [1, -1]", "rates: expected a list of numbers above 0, found [1, -1]"),
        ("rates: [.inf]", "rates: expected a list of numbers above 0, found [inf]"),
        ("optimizer: {kind: }", "optimizer.kind: missing; one of adam, muon"),
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


def multiply_aliases(levels: int) -> str:
    """A YAML text whose last alias, z, stands for 9 to the power ``levels`` words."""
    names = ["z", *(f"a{level}" for level in range(1, levels))][::-1]
    first = f"texts: &{names[0]} [x, x, x, x, x, x, x, x, x]"
    pairs = itertools.pairwise(names)
    return "\n".join([first, *(f"{upper}: &{upper} [{', '.join(['*' + lower] * 9)}]" for lower, upper in pairs)])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("my.yaml", multiply_aliases(9), "more than 1,000,000 values, those that aliases repeat included"),
        ("my.yaml", "texts: &a [*a]", "nested too deeply"),
        ("my.yaml", f"texts:\n {'[' * 99}{']' * 99}", "line 2: nested more than 50 deep"),
        ("my.yaml", "\n".join(f"{' ' * depth}a:" for depth in range(99)), "line 50: nested more than 50 deep"),
        ("my.json", f'{{"texts": {"[" * 99_999}{"]" * 99_999}}}', "nested too deeply"),
        ("my.json", f"{'[' * 99_999}", "nested too deeply"),
        ("my.toml", f"texts = {'[' * 9_999}{']' * 9_999}", "nested too deeply"),
        ("my.yaml", "tokens: 1\nlimit: 2\ntokens: 3", "line 3: the key tokens stands there twice"),
        ("my.yaml", "optimizer:\n  kind: muon\n  kind: adam", "line 3: the key kind stands there twice"),
        ("my.json", '{"phases": [{"steps": 1, "steps": 2}]}', "the key 'steps' stands there twice"),
        ("my.toml", "tokens = 1\ntokens = 1\n", "Cannot overwrite a value (at "),
        ("my.yaml", "tokens: 1\n? [a, b]\n: c", "line 2: a key is a word, no list and no mapping"),
        ("my.yaml", "? {a: b}\n: c", "line 1: a key is a word, no list and no mapping"),
        ("my.yaml", "tokens: 1\nlimit: !!bool perhaps", "line 2: tag:yaml.org,2002:bool: no tags are read here"),
        ("my.yaml", "folder: !!python/name:os.system", "line 1: tag:yaml.org,2002:python/name:os.system: no tags"),
        ("my.yaml", "\n\ttokens: 1", "line 2: while scanning for the next token: found character"),
        ("my.yaml", f"tokens: {'9' * 5000}", "line 1: Exceeds the limit (4300 digits)"),
        ("my.yaml", "limit: 1:30", "limit: expected a whole number of at least 1 or nothing, found '1:30'"),
        ("my.yaml", 'folder: "\\ud800"', r"'\ud800': half a surrogate pair"),
        ("my.json", r'{"\udfff": 1}', r"'\udfff': half a surrogate pair"),
        ("my.json", '{"optimizer": {"kind": []}}', "optimizer.kind: []; one of adam, muon"),
        ("my.json", '{"optimizer": {"kind": {"adam": 1}}}', "optimizer.kind: {'adam': 1}; one of adam, muon"),
        ("my.toml", "optimizer = [1]", "optimizer: expected keys with values, found [1]"),
        ("my.yaml", "phases: {steps: 1}", "phases: expected a list of keys with values, found {'steps': 1}"),
        ("my.yaml", f"phases: {'x' * 999}", f"phases: expected a list of keys with values, found '{'x' * 199} …"),
    ],
)
def test_files_that_could_be_misread_or_never_end(tmp_path, name, text, message):
    with pytest.raises(UserError) as caught:
        from_file(tmp_path, text, name=name)
    said = str(caught.value)
    assert said.startswith(f"{tmp_path / name}: {message}")
    assert "\n" not in said


def test_yaml_is_read_as_it_is_written(tmp_path):
    """Where YAML 1.1 has other ideas: of dates, octal numbers, on and off."""
    laid = from_file(tmp_path, "folder: 2024-13-45\ntexts: [no, on, 010, 1e3]\ntokens: 010\nloud: yes\nlimit: ~\n")
    assert laid == Run("2024-13-45", ("no", "on", "010", "1e3"), tokens=10, loud=True)
    with pytest.raises(UserError, match="unknown key on"):
        from_file(tmp_path, "on: 1")
    anchors = (
        "optimizer: &o {kind: muon, rest: {<<: &r {learning_rate: 0.1}}}\nphases: [&p {steps: 3}, {<<: *p, rows: 2}]"
    )
    assert from_file(tmp_path, anchors) == Run(
        optimizer=Muon(rest=Adam(learning_rate=0.1)), phases=(Phase(3), Phase(3, 2))
    )


@pytest.mark.parametrize(
    ("name", "text"), [("my.json", '{"tokens": 3}'), ("my.toml", "tokens = 3"), ("my.yaml", "tokens: 3")]
)
def test_a_byte_order_mark_belongs_to_no_key(tmp_path, name, text):
    assert from_file(tmp_path, "\ufeff" + text, name=name) == Run(tokens=3)


def test_flags_of_every_sort():
    assert parse(
        Run(), "runs/a", "one", "two words", "--tokens=2e9", "--limit", "3", "--loud", "--optimizer.learning_rate=1e-4"
    ) == Run("runs/a", ("one", "two words"), Adam(learning_rate=1e-4), tokens=2 * 10**9, limit=3, loud=True)
    assert parse(Run(loud=True), "--no-loud").loud is False
    assert parse(Run(), "--loud", "runs/a") == Run("runs/a", loud=True)
    assert parse(Run(), "runs/a", "--rates", "1e-1", ".5", "--loud").rates == (0.1, 0.5)
    assert parse(Run(), "runs/a", "--rates", "1e-1", "--loud", "--rates=.5").rates == (0.1, 0.5), "nothing is dropped"
    assert parse(Run(), "runs/a", "--limit", "1", "--limit", "2").limit == 2, "of one value the last"
    assert parse(Run(), "runs/a", "--texts=-x", "-", "-.txt", "--loud").texts == ("-x", "-", "-.txt")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tokns", "3"], "unknown flag --tokns; did you mean --tokens?"),
        (["--tokns=3"], "unknown flag --tokns; did you mean --tokens?"),
        (["--learning-rate", "3"], "unknown flag --learning-rate; did you mean --optimizer.learning-rate?"),
        (["--momentum", "3"], "unknown flag --momentum"),
        (["--optimiser.kind", "muon"], "unknown flag --optimiser.kind; did you mean --optimizer.kind?"),
        (["--optimizer.kind", "mun"], "flags: optimizer.kind: 'mun'; one of adam, muon; did you mean muon?"),
        (["--optimizer.kind"], "flags: optimizer.kind: missing; one of adam, muon"),
        (["--optimizer.learning-rate", "x"], "flags: optimizer.learning_rate: expected a number above 0, found 'x'"),
        (["--optimizer.learning-rate", "nan"], "flags: optimizer.learning_rate: expected a number above 0, found nan"),
        (["--phases.0.rows", "many"], "flags: phases.0.rows: expected a whole number of at least 1, found 'many'"),
        (["--phases.0.rows", "0"], "flags: phases.0.rows: expected a whole number of at least 1, found 0"),
        (["--rates", "1", "x"], "flags: rates: expected a list of numbers above 0, found [1, 'x']"),
        (["--mode", "quick"], "flags: mode: expected one of fast, exact, found 'quick'"),
        (["--mode", "--loud"], "flags: mode: expected one of fast, exact, found nothing"),
        (["--tokens", "1.5"], "flags: tokens: expected a whole number, found 1.5"),
        (["--tokens"], "flags: tokens: expected a whole number, found nothing"),
        (["--tokens", "-1"], "flags: config: tokens: less than none"),
        (["--optimizer", "adam"], "flags: optimizer: expected keys with values, found 'adam'"),
        (["-x"], "unknown flag -x"),
        (["--texts", "a", "--loud", "runs/a", "b"], "unexpected argument b"),
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
    st.builds(Adam, learning_rate=st.floats(1e-300, allow_infinity=False)),
    st.builds(Muon, momentum=st.floats(0, 0.999), rest=st.builds(Adam, learning_rate=st.floats(1e-30, 1.0))),
)


@settings(deadline=None)
@given(
    st.builds(
        Run,
        folder=st.text(),
        texts=st.lists(st.text()).map(tuple),
        optimizer=optimizers,
        phases=st.lists(st.builds(Phase, steps=st.integers(1, 2**63 - 1), rows=st.integers(1, 2**63 - 1))).map(tuple),
        tokens=st.integers(0, 10**15),
        limit=st.none() | st.integers(1, 2**63 - 1),
        loud=st.booleans(),
        mode=st.sampled_from(["fast", "exact"]),
    )
)
def test_what_is_dumped_loads_back(tmp_path_factory, made):
    file = tmp_path_factory.getbasetemp() / "dumped.yaml"
    file.write_text(config.dump_config(made), encoding="utf-8")
    assert config.load_config(Run(), file) == made


def test_numbers_of_a_config_made_in_python_are_checked():
    config.check_ranges(Run(limit=3, rates=(1, 0.5), optimizer=Muon()))
    for wrong, message in [
        (Run(limit=0), "limit: expected a whole number of at least 1 or nothing, found 0"),
        (Run(rates=(1.0, 0.0)), r"rates: expected a list of numbers above 0, found \(1.0, 0.0\)"),
        (Run(phases=(Phase(), Phase(rows=2.5))), "phases.1.rows: expected a whole number of at least 1, found 2.5"),
        (
            Run(optimizer=Muon(rest=Adam(learning_rate=float("inf")))),
            "optimizer.rest.learning_rate: expected a number above 0, found",
        ),
        (Run(tokens=True), "tokens: expected a whole number, found True"),
    ]:
        with pytest.raises(UserError, match=f"^{message}"):
            config.check_ranges(wrong)


def types_within(hint: Any) -> Iterator[Any]:
    """A type and those that it is made of, of dataclasses their fields'; none within a number that has a range."""
    if not number_range(hint):
        yield hint
        for part in field_types(hint).values() if is_dataclass(hint) else get_args(hint):
            yield from types_within(part)


@pytest.mark.parametrize("name", cli.VERBS)
def test_every_number_that_a_user_sets_has_a_range(name):
    config_class = getattr(electra, cli.VERBS[name].config)
    assert not [hint for hint in types_within(config_class) if hint in (int, float)]


@pytest.mark.parametrize("name", cli.VERBS)
def test_a_verb_refuses_numbers_out_of_range_before_all_else(name):
    verb, config_class = getattr(electra, cli.VERBS[name].function or name), getattr(electra, cli.VERBS[name].config)
    numbers = [key for key, hint in field_types(config_class).items() if number_range(hint)]
    for key in numbers:
        with pytest.raises(UserError, match=f"^{key}: expected a (whole )?number .*, found -1$"):
            verb(replace(config_class(), **{key: -1}))
    assert numbers or name in ("inspect", "export", "status")
