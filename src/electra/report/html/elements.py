"""HTML put together so that no text becomes markup: what is no ``Html`` is escaped wherever it is put in."""

import json
from collections.abc import Iterable
from html import escape

from electra.errors import cut_middle, escape_controls
from electra.report.plain_json import replace_infinite

VOID = ("meta", "rect", "line", "path", "circle")  # elements without content
READ = ("title", "aria-label")  # attributes that a person reads
UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}  # in a script's text; JSON has them within strings alone


class Html(str):
    """Markup of ours. Any other text is escaped before it is put into a page."""


def escape_text(text: object) -> Html:
    """Any value as text in a page: control characters and marks of direction are written out, a long one is cut."""
    return Html(escape(cut_middle(escape_controls(str(text)))))


def element(tag: str, *children: object, **attributes: object) -> Html:
    """An element. Children that are no ``Html`` are text; None is left out. An attribute that is None or False is left
    out, one that is True has no value; ``class_`` is class, and ``data_value`` is data-value."""
    named = "".join(map(format_attribute, attributes.items()))
    if tag in VOID:
        return Html(f"<{tag}{named}>" if tag == "meta" else f"<{tag}{named}/>")
    return Html(f"<{tag}{named}>{join_html(children)}</{tag}>")


def format_attribute(attribute: tuple[str, object]) -> str:
    """An attribute, a space before it; nothing where its value is None or False."""
    name, value = attribute[0].rstrip("_").replace("_", "-"), attribute[1]
    if value is None or value is False:
        return ""
    if value is True:
        return f" {name}"
    return f' {name}="{escape_text(value) if name in READ else escape(escape_controls(str(value)))}"'


def join_html(children: Iterable[object]) -> Html:
    """The children one after another, None left out."""
    return Html("".join(each if isinstance(each, Html) else escape_text(each) for each in children if each is not None))


def embed_json(value: object) -> Html:
    """A value as JSON that stands in a script element: ASCII, and without the signs that could end the element."""
    content = json.dumps(replace_infinite(value), allow_nan=False, separators=(",", ":"))
    for sign, code in UNSAFE.items():
        content = content.replace(sign, code)
    return Html(content)
