"""`make docs`: each public name is on the pages with its docstring, each config with its fields, and links lead on."""

import html
import inspect
import re
import runpy
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import electra

SCRIPT = Path(__file__).parents[1] / "docs" / "api.py"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


@pytest.fixture(scope="module")
def pages(script: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Each page's text by its path."""
    folder = tmp_path_factory.mktemp("api")
    return {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in script["write_pages"](folder)}


def words(text: str) -> str:
    """A page, or a docstring, as words alone."""
    return " ".join(re.sub(r"[`*]", "", html.unescape(re.sub(r"<[^>]+>", "", text))).split())


def section(page: str, name: str) -> str:
    """What a page says of a class or function, up to the next."""
    return next(part for part in page.split("<section ") if part.startswith(f'id="{name}"'))


def test_every_public_name_is_there_with_its_docstring(pages: dict[str, str]) -> None:
    for name in electra.PUBLIC:
        written = inspect.cleandoc(getattr(electra, name).__doc__)
        first = written.partition("\n\n")[0]
        assert len(first) > 20 and words(first) in words(section(pages["electra.html"], name)), name
    for name in ("encode", "read", "cut", "width"):
        first = inspect.cleandoc(inspect.getdoc(getattr(electra.Encoder, name)) or "").partition("\n\n")[0]
        assert words(first) in words(section(pages["electra.html"], "Encoder")), name


def test_every_config_has_its_fields_with_their_defaults(script: dict[str, Any], pages: dict[str, str]) -> None:
    configs = [getattr(electra, name) for name in electra.PUBLIC if name.endswith("Config")]
    parts = {part for config in configs for part in script["list_parts"](config)}
    assert len(parts) > len(configs) + 20
    for part in parts:
        page = pages["electra.html" if part in configs else f"{part.__module__.replace('.', '/')}.html"]
        for field in fields(part):
            assert f'id="{part.__name__}.{field.name}"' in page, f"{part.__name__}.{field.name}"
    said = words(section(pages["electra.html"], "PretrainConfig"))
    assert "held_out_rows: int = 512 Rows of the held-out split that an evaluation reads. A whole number of at" in said
    assert "optimizer: electra.engine.optim.AdamW |" in said and "= AdamW(kind='adamw', learning_rate=0.0005" in said


def test_links_lead_to_something(pages: dict[str, str]) -> None:
    followed = 0
    for name, page in pages.items():
        for target, anchor in re.findall(r'href="(?!https?:|data:)([^"#$]*)(?:#([^"]*))?"', page):
            path = str((Path("/") / name).parent.joinpath(target).resolve())[1:] if target else name
            assert path in pages and (not anchor or f'id="{anchor}"' in pages[path]), f"{name}: {target}#{anchor}"
            followed += bool(anchor)
    assert followed > 200
