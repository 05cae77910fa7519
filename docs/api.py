"""The pages of the API, from the docstrings: `make docs` writes them into build/api.

pdoc reads a module's own names. Those of ``electra`` are imported when they are used, so it is given a module that has
them. Parts of the configs (optimizers, objectives, encoders …) have pages under the modules that they are in.
"""

import argparse
from collections import defaultdict
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import pdoc.doc
import pdoc.render

import electra
from electra.config_types import dataclasses_of, describe_type, entry_type, field_types, number_range


def list_parts(config_class: type) -> list[type]:
    """A config class, what it inherits fields from, and the classes of all that may stand in its fields, each once."""
    found, waiting = dict[type, None](), [config_class]
    while waiting:
        part = waiting.pop()
        if part not in found:
            found[part] = None
            waiting += [base for base in part.__bases__ if is_dataclass(base)]
            for hint in field_types(part).values():
                waiting += [*dataclasses_of(hint), *dataclasses_of(entry_type(hint))]
    return list(found)


def build_module(name: str, about: str, members: dict[str, Any]) -> pdoc.doc.Module:
    """A module as pdoc documents it, with these members alone. Fields of configs are shown as a reader wants them."""
    module = ModuleType(name, about)
    vars(module).update(members, __all__=list(members))
    page = pdoc.doc.Module(module)
    for part in page.classes:
        if part.name.endswith("Config") or name != "electra":
            describe_fields(part)
    return page


def describe_fields(part: pdoc.doc.Class) -> None:
    """Give each field of a config its plain type, its range in words, and its default where a function makes it."""
    bare, marked = get_type_hints(part.obj), field_types(part.obj)
    for field in fields(part.obj):
        shown = part.members[field.name]
        assert isinstance(shown, pdoc.doc.Variable)
        shown.annotation = bare[field.name]
        if field.default_factory is not MISSING:
            shown.default_value = field.default_factory()
        if number_range(marked[field.name]) or number_range(entry_type(marked[field.name])):
            words = describe_type(marked[field.name])
            shown.docstring = f"{shown.docstring}\n\n{words[0].upper()}{words[1:]}.".strip()
    part.members.pop("__init__", None)  # which would say all this once more, in one line


def build_modules() -> dict[str, pdoc.doc.Module]:
    """``electra`` with its public names, and each module with parts of their configs, by name."""
    public = {name: getattr(electra, name) for name in electra.PUBLIC}
    configs = [value for name, value in public.items() if name.endswith("Config")]
    parts: defaultdict[str, dict[str, type]] = defaultdict(dict)
    for config in configs:
        for part in list_parts(config):
            if part not in configs:
                parts[part.__module__][part.__name__] = part
    pages = {"electra": build_module("electra", electra.__doc__ or "", public)}
    for name in sorted(parts):
        pages[name] = build_module(name, "Parts of the configs of `electra`.", dict(sorted(parts[name].items())))
    return pages


def write_pages(folder: Path) -> list[Path]:
    """Write a page for each module, the first page and the index for searching into ``folder``; returns their paths."""
    pdoc.render.configure(docformat="google", show_source=False)
    modules = build_modules()
    pages = {f"{name.replace('.', '/')}.html": pdoc.render.html_module(each, modules) for name, each in modules.items()}
    pages |= {"index.html": pdoc.render.html_index(modules), "search.js": pdoc.render.search_index(modules)}
    for name, text in pages.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in pages]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    print(f"{len(write_pages(folder))} files; open {folder}/index.html")
