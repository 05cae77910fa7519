"""Texts whose tokens were judged: which replaced ones were found, which were missed, which originals were suspected."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from electra.report.html.content import JudgedTexts, JudgedToken
from electra.report.html.elements import Html, element, join_html

FOUND_FROM = 0.5  # P(replaced) from which a token counts as found
SHADED_FROM, SHADES = 0.05, 10  # P(replaced) from which a token is shaded, and the shades that page.css has

Outcome = Literal["found", "missed", "alarm", "right", "unasked"]
OUTCOMES: dict[Outcome, str] = {
    "found": "found: replaced, and P(replaced) is 0.5 or more; above it what the text had",
    "missed": "missed: replaced, and P(replaced) is less",
    "alarm": "false alarm: an original with P(replaced) of 0.5 or more",
}


def render_judged(judged: JudgedTexts) -> Html:
    """A run's texts, under a line with the counts."""
    counts = Counter(judge_token(token) for text in judged.texts for token in text)
    replaced, alarms = counts["found"] + counts["missed"], counts["alarm"]
    line = f"{replaced} replaced tokens: {counts['found']} found, {counts['missed']} missed; "
    line += f"{alarms} false alarm{'s' * (alarms != 1)} in {counts['right'] + alarms} originals."
    return element(
        "section",
        element("h3", judged.run),
        element("p", line),
        *(element("p", *map(render_judged_token, text), class_="judged", dir="auto") for text in judged.texts),
    )


def render_judged_token(token: JudgedToken) -> Html:
    """A token, a space before it unless it continues a word; with what the text had above it, if that was another."""
    space, outcome = "" if token.continues else " ", judge_token(token)
    if outcome in ("right", "unasked") and (token.replaced or 0.0) < SHADED_FROM:
        return join_html((space, token.text))
    shade = f"p{min(int((token.replaced or 0.0) * SHADES), SHADES - 1)}"
    about = "not asked" if token.replaced is None else f"P(replaced) {token.replaced:.3f}"
    if token.original is None:
        name = f"{shade} alarm" if outcome == "alarm" else shade
        return join_html((space, element("span", token.text, class_=name, title=about)))
    title = f"{outcome}: {about}; the text had {token.original}"
    return join_html((
        space,
        element("ruby", token.text, element("rt", token.original), class_=f"{shade} {outcome}", title=title),
    ))  # fmt: skip


def judge_token(token: JudgedToken) -> Outcome:
    """What became of a token."""
    if token.replaced is None:
        return "unasked"
    if token.original is not None:
        return "found" if token.replaced >= FOUND_FROM else "missed"
    return "alarm" if token.replaced >= FOUND_FROM else "right"


def render_key() -> Html:
    """What the marks of tokens mean."""
    samples = {"found": ("p9", "chef"), "missed": ("p1", "chef"), "alarm": ("p7", "meal")}
    items = [
        element("li", render_sample(*samples[outcome], outcome), f" {about}") for outcome, about in OUTCOMES.items()
    ]
    shades = [element("span", "\u00a0", class_=f"p{shade}") for shade in range(SHADES)]
    return element("ul", *items, element("li", *shades, " P(replaced) from 0 to 1"), class_="key")


def render_sample(shade: str, word: str, outcome: Outcome) -> Html:
    """A token as the key shows it."""
    if outcome == "alarm":
        return element("span", word, class_=f"{shade} alarm")
    return element("ruby", word, element("rt", "cook"), class_=f"{shade} {outcome}")


def render_all_judged(judged: Sequence[JudgedTexts]) -> Html:
    """The key, and the texts of each run."""
    return join_html([render_key(), *map(render_judged, judged)])
