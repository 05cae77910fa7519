"""The page of a report: one file with its style, its script and its data, that asks the network for nothing."""

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files

from electra.errors import UserError
from electra.report.html.charts import gather_chart_data
from electra.report.html.content import ReportContent
from electra.report.html.elements import Html, element, embed_json, join_html
from electra.report.html.figures import choose_line_styles, list_chart_figures
from electra.report.html.sections import TITLES, render_sections

SIGN = b'content="electra report, format 1"'  # by which a page of ours is known
SCRIPTS = ("drawing.js", "chart.js", "page.js")  # in this order: each uses what stands before it
MOST_BYTES = 3_000_000


def render_report(content: ReportContent, about: str) -> str:
    """The whole page. ``about``: the line under the title.

    Raises:
        UserError: it would have 3 MB or more.
    """
    figures, styles = list_chart_figures(content.runs), choose_line_styles(content.runs)
    sections = render_sections(content, figures, styles)
    data = embed_json(gather_chart_data(content.runs, figures, styles))
    page = (
        "<!doctype html>\n"
        + element("html", render_head(content), render_body(about, sections, data), lang="en")
        + "\n"
    )
    if (size := len(page.encode())) >= MOST_BYTES:
        raise UserError(
            f"the page would have {size / 1e6:.1f} MB, and 3 are the most: give fewer runs, or --examples 0"
        )
    return page


def render_head(content: ReportContent) -> Html:
    """The head: what the page is, and that it loads nothing, runs our script alone and shows our style alone."""
    style, script = read_part("page.css"), read_script()
    policy = f"default-src 'none'; base-uri 'none'; form-action 'none'; style-src {hash_source(style)}; "
    policy += f"script-src {hash_source(script)}"
    names = ", ".join(run.name for run in content.runs[:3]) + (" …" if len(content.runs) > 3 else "")
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="generator", content="electra report, format 1"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", http_equiv="Content-Security-Policy", content=Html(policy)),
        element("title", f"electra report: {names}" if names else "electra report"),
        element("style", Html(style)),
    )


def render_body(about: str, sections: Mapping[str, Html], data: Html) -> Html:
    """The title, links to the sections, the sections, the data and the script."""
    links = [element("a", TITLES[name].partition(",")[0], href=f"#{name}") for name in sections]
    parts = [element("section", element("h2", TITLES[name]), part, id=name) for name, part in sections.items()]
    header = element("header", element("h1", "electra ", element("span", "report")), element("p", about))
    return element(
        "body",
        header,
        element("nav", *links, aria_label="sections"),
        element("main", join_html(parts)),
        element("script", data, type="application/json", id="data"),
        element("script", Html(read_script())),
    )


def read_part(name: str) -> str:
    """A file of this package."""
    return files("electra.report.html").joinpath(name).read_text(encoding="utf-8")


def read_script() -> str:
    """The page's script: its files one after another."""
    return "\n".join(map(read_part, SCRIPTS))


def hash_source(text: str) -> str:
    """How a policy names the one script, or style, that it allows."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
