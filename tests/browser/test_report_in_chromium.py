"""The page of `electra report` as a person meets it in Chromium: pointed at, sorted, on a phone, dark, on paper."""

import base64
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from browser_screenshots import ROOT, keep_screenshot
from electra.errors import escape_controls
from electra.report.html.page import render_report
from electra.workflows.report import ReportConfig, write_report
from reported import HOSTILE, make_content

RUNS = ("modern-tiny-text", "demo", "small-200-steps")
Open = Callable[..., Chrome]


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The records of three runs and of a comparison that lie in this repository."""
    out = tmp_path_factory.mktemp("report") / "report.html"
    runs = tuple(str(ROOT / "results" / name) for name in (*RUNS, "ablation-text"))
    return write_report(ReportConfig(runs=runs, out=str(out), examples=0))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with every section, whose every text tries to become markup."""
    path = tmp_path_factory.mktemp("made") / "report.html"
    path.write_text(render_report(make_content(" ".join(HOSTILE[:3]), runs=3), "made by hand"), encoding="utf-8")
    return path


def find(driver: Any, selector: str) -> WebElement:
    return driver.find_element(By.CSS_SELECTOR, selector)


def find_all(driver: Any, selector: str) -> list[WebElement]:
    return driver.find_elements(By.CSS_SELECTOR, selector)


def point_at(driver: Chrome, share: float) -> str:
    """Rest the pointer so far across the chart; returns what the tip says."""
    chart = find(driver, ".plot svg")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", chart)
    ActionChains(driver).move_to_element_with_offset(chart, round((share - 0.5) * chart.size["width"]), 0).perform()
    return find(driver, ".tip").text


def test_the_pointer_reads_the_values_of_all_runs(opened: Open, page: Path) -> None:
    driver = opened(page)
    assert not find(driver, ".tip").is_displayed()
    near, far = point_at(driver, 0.09), point_at(driver, 0.9)
    assert near != far and "step" in near and "step" in far
    assert [name in near for name in RUNS] == [True] * 3 and [name in far for name in RUNS] == [True, False, False]
    point_at(driver, 0.06)
    values = [float(value.text) for value in find_all(driver, ".tip > div > span:nth-of-type(2) > span:first-of-type")]
    assert values == sorted(values, reverse=True) and 3 < min(values) <= max(values) < 11, "losses in nats"
    point_at(driver, 0.3)
    keep_screenshot(driver, "hover")
    ActionChains(driver).move_to_element(find(driver, "h1")).perform()
    assert not find(driver, ".tip").is_displayed()


def test_the_arrow_keys_do_what_the_pointer_does(opened: Open, page: Path) -> None:
    driver = opened(page)
    chart = find(driver, ".plot svg")
    heads = []
    for key in (Keys.HOME, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT, Keys.END):
        chart.send_keys(key)
        heads.append(find(driver, ".tip b").text)
    assert heads[0] != heads[1] != heads[2] and heads[3] == heads[1] and heads[4] == "step 3,906"
    chart.send_keys(Keys.ESCAPE)
    assert not find(driver, ".tip").is_displayed()


def test_a_finger_reads_the_values_too(opened: Open, page: Path) -> None:
    driver = opened(page, 360, 740)
    chart = find(driver, ".plot svg")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", chart)
    place = driver.execute_script("return arguments[0].getBoundingClientRect().toJSON()", chart)
    point = {"x": place["left"] + 0.3 * place["width"], "y": place["top"] + 60}
    for kind, points in (("touchStart", [point]), ("touchEnd", [])):
        driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    tip = find(driver, ".tip")
    assert RUNS[0] in tip.text and tip.rect["x"] >= 0 and tip.rect["x"] + tip.rect["width"] <= 360


def test_figure_axis_and_scales_are_chosen(opened: Open, page: Path) -> None:
    driver = opened(page)
    paths = {find(driver, ".plot path.line").get_attribute("d")}
    for act in (
        lambda: Select(find(driver, "#axis")).select_by_visible_text("hours"),
        lambda: find(driver, "#log-x").click(),
        lambda: find(driver, "#log-y").click(),
        lambda: Select(find(driver, "#figure")).select_by_visible_text("discriminator: skill"),
        lambda: find_all(driver, ".small")[3].click(),
    ):
        before = len(paths)
        act()
        paths.add(find(driver, ".plot path.line").get_attribute("d"))
        assert len(paths) == before + 1
    assert Select(find(driver, "#figure")).first_selected_option.text == find_all(driver, "figcaption")[3].text
    assert find_all(driver, ".small")[3].get_attribute("aria-pressed") == "true"
    assert "NaN" not in "".join(paths)


def test_every_figure_can_be_drawn_on_every_axis(opened: Open, page: Path) -> None:
    driver = opened(page)
    for axis, log_x, log_y in itertools.product(("step", "tokens", "flops", "hours"), (False, True), (False, True)):
        drawn = driver.execute_script(
            """const set = (id, value) => { const each = document.getElementById(id);
                 if (each.type === "checkbox") each.checked = value; else each.value = value;
                 each.dispatchEvent(new Event("change")); };
               set("axis", arguments[0]); set("log-x", arguments[1]); set("log-y", arguments[2]);
               return [...document.getElementById("figure").options].map((option) => {
                 set("figure", option.value); return document.querySelector(".plot svg").innerHTML; });""",
            axis, log_x, log_y,
        )  # fmt: skip
        assert len(drawn) > 10 and not any("NaN" in each or "Infinity" in each for each in drawn), (axis, log_x, log_y)
        assert all('<path class="line' in each or "nothing to draw" in each for each in drawn)


def test_the_legend_switches_runs(opened: Open, page: Path) -> None:
    driver = opened(page)
    count = len(find_all(driver, ".plot > svg path.line"))
    item = find_all(driver, ".legend li")[0]
    item.click()
    assert len(find_all(driver, ".plot > svg path.line")) == count - 2 and item.get_attribute("aria-pressed") == "false"
    assert RUNS[0] not in point_at(driver, 0.1)
    item.send_keys(Keys.ENTER)
    assert len(find_all(driver, ".plot > svg path.line")) == count
    ActionChains(driver).double_click(item).perform()
    assert len(find_all(driver, ".plot > svg path.line")) == 2


def test_tables_sort_by_click_and_by_key(opened: Open, page: Path) -> None:
    driver = opened(page)
    table = find(driver, "#runs table")

    def column(number: int) -> list[str]:
        return [cell.text for cell in find_all(table, f"tbody tr > :nth-child({number})")]

    head = next(each for each in find_all(table, "thead th") if each.text.startswith("tokens"))
    number = find_all(table, "thead th").index(head) + 1
    find(head, "button").click()
    assert column(number) == ["16M", "4.45M", "3.28M"] and head.get_attribute("aria-sort") == "descending"
    find(head, "button").send_keys(Keys.ENTER)
    assert column(number) == ["3.28M", "4.45M", "16M"] and head.get_attribute("aria-sort") == "ascending"
    find(table, "thead th button").send_keys(Keys.SPACE)
    assert [name.strip() for name in column(1)] == sorted(RUNS) and head.get_attribute("aria-sort") == "none"


def test_what_has_no_value_comes_last_both_ways(opened: Open, made: Path) -> None:
    driver = opened(made)
    table = find(driver, "#pairs table")
    button = find_all(table, "thead button")[3]
    for _ in range(2):
        button.click()
        assert [cell.text == "" for cell in find_all(table, "tbody tr > :nth-child(4)")] == [False, True]


def test_texts_of_others_stay_texts(opened: Open, made: Path) -> None:
    driver = opened(made)
    assert not find_all(driver, "img") and len(find_all(driver, "script")) == 2
    shown = point_at(driver, 0.5)
    assert escape_controls(HOSTILE[0])[:12] in shown or "run 2" in shown
    assert [each.text for each in find_all(driver, ".tip img, .legend img, select img")] == []
    keep_screenshot(driver, "hostile", whole=True)


def test_nothing_is_fetched_whatever_is_asked(opened: Open, made: Path) -> None:
    driver = opened(made)
    refused = driver.execute_async_script(
        """const done = arguments[0]; const seen = [];
           document.addEventListener("securitypolicyviolation", (event) => {
             seen.push(event.effectiveDirective); if (seen.length === 3) done(seen.sort()); });
           fetch("http://127.0.0.1:9/").catch(() => {});
           const image = new Image(); image.src = "http://127.0.0.1:9/a.png";
           const script = document.createElement("script"); script.textContent = "window.ran = true";
           document.body.append(script);"""
    )
    assert (
        refused == ["connect-src", "img-src", "script-src-elem"] and driver.execute_script("return window.ran") is None
    )
    said, events = driver.get_log("browser"), [json.loads(each["message"]) for each in driver.get_log("performance")]
    assert said and all("Content Security Policy" in each["message"] for each in said), said
    failed = [each["message"]["params"] for each in events if each["message"]["method"] == "Network.loadingFailed"]
    assert failed and all(each["blockedReason"] == "csp" for each in failed), "refused before anything is sent"


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_reads_at_every_width_in_light_and_dark(
    opened: Open, page: Path, made: Path, width: int, scheme: str
) -> None:
    for name, path in (("made", made), ("runs", page)):
        driver = opened(path, width, 800, color_scheme=scheme)
        assert driver.execute_script("return document.documentElement.scrollWidth") == width, "nothing sticks out"
        contrasts = driver.execute_script(CONTRASTS)
        assert len(contrasts) > 100 and min(contrasts.values()) >= 4.5, min(contrasts.items(), key=lambda each: each[1])
        keep_screenshot(driver, f"{name}-{width}-{scheme}", whole=True)


# The contrast of each text with what it stands on, by the text: (L1 + 0.05) / (L2 + 0.05), as WCAG has it.
CONTRASTS = """
const parse = (colour) => {
  const found = colour.match(/[\\d.]+/g).map(Number);
  return found.length < 4 ? [...found, 1] : found;
};
const blend = (top, below) => top.slice(0, 3).map((value, index) => value * top[3] + below[index] * (1 - top[3]));
const light = (colour) => colour.slice(0, 3).map((value) => value / 255)
  .map((value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
  .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
const ground = (made) => {
  const own = parse(getComputedStyle(made).backgroundColor);
  if (own[3] === 1) return own;
  return blend(own, made.parentElement ? ground(made.parentElement) : [255, 255, 255, 1]);
};
const found = {};
for (const made of document.querySelectorAll("body *")) {
  if (made.closest("script") || ![...made.childNodes].some((node) => node.nodeType === 3 && node.data.trim())) continue;
  const style = getComputedStyle(made);
  const below = ground(made);
  const own = parse(made.namespaceURI.endsWith("svg") ? style.fill : style.color);
  const [first, second] = [light(blend(own, below)), light(below)].sort((a, b) => b - a);
  found[`${made.tagName}.${made.className} ${made.textContent.trim().slice(0, 40)}`] = (first + 0.05) / (second + 0.05);
}
return found;
"""


def test_on_paper_the_small_pictures_and_all_settings_stand(opened: Open, page: Path) -> None:
    driver = opened(page)
    folded = find(driver, "details:not([open])")
    pdf = base64.b64decode(driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})["data"])
    assert pdf.startswith(b"%PDF") and len(pdf) > 50_000 and folded.get_attribute("open") is None
    driver.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    assert folded.get_attribute("open") == "true"
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not find(driver, "#chart").is_displayed() and not find(driver, "nav").is_displayed()
    assert all(each.is_displayed() for each in find_all(driver, ".small svg"))
    driver.execute_script("window.dispatchEvent(new Event('afterprint'))")
    assert folded.get_attribute("open") is None


def test_without_scripts_the_same_is_there_in_small(opened: Open, page: Path, chromium: Chrome) -> None:
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        driver = opened(page)
        assert not find_all(driver, "#chart *") and not find_all(driver, "button")
        assert len(find_all(driver, ".small svg")) > 5 and find(driver, ".small svg").is_displayed()
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
