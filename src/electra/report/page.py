"""Inspected texts as one page of HTML. It fetches and runs nothing, and follows the reader's light or dark theme."""

from collections.abc import Sequence
from html import escape

SIGN = b'content="electra, format 1"'  # by which a page of ours is known
CONTINUES = "##"  # how a word piece starts that is not its word's first

HEAD = """<!doctype html>
<html>
<head>
<meta charset="utf-8">
<meta name="generator" content="electra, format 1">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>electra: which tokens look replaced</title>
<style>
:root { color-scheme: light dark; --hot: 220 60 40; }
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem; font: 1.05rem/1.9 system-ui, sans-serif; }
p, footer { overflow-wrap: anywhere; }
p span { background: rgb(var(--hot) / calc(var(--p) * 80%)); padding-block: .15em; }
footer { font-size: .85rem; }
footer i { display: inline-block; width: 8rem; height: .8em;
  background: linear-gradient(to right, transparent, rgb(var(--hot) / 80%)); border: 1px solid; }
</style>
</head>
<body>
"""
FOOT = """
<footer>P(replaced): 0 <i></i> 1. Rest the pointer on a token to read its own.</footer>
</body>
</html>
"""


def render_page(texts: Sequence[Sequence[tuple[str, float]]]) -> str:
    """The page of texts, each given as (token, P(replaced)). Word pieces are joined, each in its own colour."""
    return (
        HEAD + "\n".join(f'<p dir="auto">{"".join(map(render_token, text)).lstrip(" ")}</p>' for text in texts) + FOOT
    )


def render_token(token: tuple[str, float]) -> str:
    """A token in HTML, a space before it unless it continues a word."""
    text, replaced = token
    word = text.removeprefix(CONTINUES)
    space = " " if word == text else ""
    return f'{space}<span style="--p:{replaced:.3f}" title="{replaced:.3f}">{escape(word)}</span>'
