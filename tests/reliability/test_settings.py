"""Whatever is typed for a setting, it is taken, or refused in one line with exit code 2."""

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

import pytest

import electra
from electra import cli
from electra.config import plain_tree
from trials import LONGEST_LINE

FEW, MANY, MOST = 24, 400, 3000
VALUES = [
    "", " ", "0", "-1", "1.5", "1e400", "nan", "inf", "-inf", "true", "None", "null", "[]", "{}", "()", "a b", "ä",
    "\x00", "\ud800", "%s", "{0}", "$HOME", "../..", "/dev/full", "/proc/self/mem", "9" * 400, "x" * 5000, "1,2", "'",
    '"', "--out", "kind", "18446744073709551616", "0x10", "1_000", "+1", "1e-400", "\n", "a\nb", "\t", "[1, [2]]",
    "{a: *b}", "漢",
]  # fmt: skip


def list_settings() -> list[tuple[str, str]]:
    """(verb, flag) of every setting of every verb."""
    settings = []
    for name, verb in cli.VERBS.items():
        tree = plain_tree(getattr(electra, verb.config)())
        settings += [(name, "--" + path.replace("_", "-")) for path in list_leaves(tree, "")]
    return settings


def list_leaves(tree: Any, path: str) -> Iterator[str]:
    """The dotted names of all values in a tree that are no trees; lists by number."""
    items = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list) else ()
    items = list(items)
    if not items and path:
        yield path
    for name, value in items:
        yield from list_leaves(value, f"{path}.{name}" if path else str(name))


def test_strange_values_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    check(range(FEW), capsys)


@pytest.mark.slow
def test_many_strange_values_are_told(capsys: pytest.CaptureFixture[str], scale: Any) -> None:
    outcomes = check(range(FEW, FEW + scale.choose(MANY, MOST)), capsys)
    scale.write("setting values", outcomes, [])


def check(seeds: range, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Each is taken or told; returns which it was, by verb."""
    settings, outcomes, problems = list_settings(), [], []
    for seed in seeds:
        draw = Random(seed)
        verb, flag = draw.choice(settings)
        value = draw.choice(VALUES)
        code, problem = try_value([verb, "--print-config", flag, value], capsys)
        outcomes.append(f"{verb}: {'refused' if code else 'taken'}")
        if problem:
            problems.append(f"electra {verb} {flag} {value[:40]!r}: {problem}")
    assert not problems, "\n".join(problems)
    assert len(set(outcomes)) > 5
    return outcomes


def try_value(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code of a command line, and what is wrong with its end, if anything."""
    capsys.readouterr()
    try:
        code = cli.main(arguments)
    except SystemExit as error:
        code = error.code  # type: ignore[assignment]
    except Exception as error:
        return 1, f"{type(error).__name__}: {error}"
    lines = capsys.readouterr().err.strip().splitlines()
    if code not in (0, None, cli.MISTAKE):
        return 1, f"exit code {code}"
    if code and (len(lines) != 1 or len(lines[0]) > LONGEST_LINE):
        return 1, f"not one line: {lines[:4]}"
    return code or 0, ""
