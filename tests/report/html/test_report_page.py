"""The page of a report: text stays text wherever it comes from, nothing is fetched, and all of it is bounded."""

import base64
import hashlib
import re

import pytest

from electra.errors import UserError, escape_controls
from electra.report.html.content import ReportContent, ReportTable
from electra.report.html.elements import element, embed_json
from electra.report.html.page import MOST_BYTES, SIGN, render_report
from electra.report.html.sections import TITLES
from reported import HOSTILE, PageReader, make_content, read_data

ELEMENTS = {
    "html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "h3", "h4", "p", "nav", "a", "main",
    "section", "div", "ul", "li", "span", "code", "figure", "figcaption", "svg", "path", "rect", "circle", "text",
    "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "ruby", "rt", "script",
}  # fmt: skip
UNSAFE = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|fetch\(|XMLHttp|import\("


@pytest.fixture(scope="module")
def plain() -> PageReader:
    return PageReader(render_report(make_content("plain"), "plain"))


def test_every_section_is_there_and_linked(plain: PageReader) -> None:
    ids = {value for _, name, value in plain.values if name == "id"}
    links = [value for tag, name, value in plain.values if (tag, name) == ("a", "href")]
    assert links == [f"#{name}" for name in TITLES] and {link[1:] for link in links if link} <= ids
    for shown in ("what differs", "key plain", "2 replaced tokens: 1 found, 1 missed", "1 false alarm in 2 originals"):
        assert shown in plain.text.lower()


@pytest.mark.parametrize("word", HOSTILE)
def test_text_is_text_whatever_it_says(plain: PageReader, word: str) -> None:
    page = PageReader(render_report(make_content(word), word))
    assert page.elements == plain.elements, "the same elements with the same attributes, in the same order"
    assert page.text.count(escape_controls(word)) == plain.text.count("plain")
    names = [escape_controls(run["name"]) for run in read_data(page)["runs"]]
    assert names == [f"run {number} {escape_controls(word)}" for number in range(2)]


def test_paths_are_whole() -> None:
    page = PageReader(render_report(make_content("word", 3, 5000), "about"))
    paths = [str(value) for tag, name, value in page.values if (tag, name) == ("path", "d")]
    assert max(map(len, paths)) > 1000 and all(re.fullmatch(r"([MLHV][\d. -]+)+", path) for path in paths)


def test_only_our_elements_and_no_address_but_within_the_page(plain: PageReader) -> None:
    assert {tag for tag, _ in plain.elements} <= ELEMENTS
    for tag, name, value in plain.values:
        assert not name.startswith("on") and name not in ("src", "srcset", "style", "action", "xlink:href"), (tag, name)
        assert name != "href" or (value or "").startswith("#")
    style, (_, script) = plain.texts["style"][0], plain.texts["script"]
    assert "url(" not in style and "@import" not in style
    assert not re.search(UNSAFE, script)


def test_the_policy_allows_our_script_and_style_alone(plain: PageReader) -> None:
    (policy,) = [value for tag, name, value in plain.values if name == "content" and "default-src" in str(value)]

    def allowed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    assert policy == (
        "default-src 'none'; base-uri 'none'; form-action 'none'; "
        f"style-src {allowed(plain.texts['style'][0])}; script-src {allowed(plain.texts['script'][1])}"
    )


def test_the_sign_stands_where_it_is_looked_for() -> None:
    assert SIGN in render_report(ReportContent([], {}, [], {}), "nothing").encode()[:4096]


def test_without_a_script_the_curves_and_tables_are_there(plain: PageReader) -> None:
    pictures = [value for tag, name, value in plain.values if (tag, name) == ("svg", "aria-label")]
    assert [str(value).split(":")[0] for value in pictures] == ["generator", "discriminator"]
    assert "curves of 2 runs" in str(pictures[0])
    assert all("hidden" not in names for _, names in plain.elements)


@pytest.mark.parametrize(("runs", "count"), [(1, 100_000), (64, 300)])
def test_a_page_stays_small(runs: int, count: int) -> None:
    content = make_content("word", runs, count)
    page = render_report(content, "about")
    assert len(page.encode()) < MOST_BYTES
    lines = [line for figure in read_data(PageReader(page))["figures"] for line in figure["lines"]]
    assert lines and all(
        max(value or 0 for value in line["values"]) == 9.0 for line in lines if line["split"] == "train"
    )


def test_what_would_be_too_large_is_refused() -> None:
    table = ReportTable("t", ("a", "b"), [["x" * 600, "y" * 600]] * 3000)
    with pytest.raises(UserError, match=r"^the page would have 3\.\d MB, and 3 are the most: give fewer runs"):
        render_report(ReportContent([], {"evaluations": [table]}, [], {}), "about")


def test_elements_escape_all_but_markup() -> None:
    assert element("p", "<b>", element("b", "x"), None, class_="a\"'", hidden=True, title=None) == (
        '<p class="a&quot;&#x27;" hidden>&lt;b&gt;<b>x</b></p>'
    )
    assert embed_json({"a": ["</script>", "\u2028", float("nan")]}) == (
        '{"a":["\\u003c/script\\u003e","\\u2028",null]}'
    )
