"""A real Chromium, Debian's, without a window: one for all tests, each with pages of its own."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service


@pytest.fixture(scope="session")
def chromium() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.binary_location = shutil.which("chromium") or "chromium is not installed"
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture
def opened(chromium: webdriver.Chrome) -> Iterator[Callable[..., webdriver.Chrome]]:
    """Opens a page at a size, after which the console must be empty and nothing but the page was asked for."""
    path: list[Path] = []

    def open_page(page: Path, width: int = 1280, height: int = 900, **media: str) -> webdriver.Chrome:
        path[:] = [page]
        media = {"reduced_motion": "reduce"} | media  # or a click would come while the page still scrolls
        features = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in media.items()]
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        for log in ("browser", "performance"):
            chromium.get_log(log)
        chromium.get(page.as_uri())
        return chromium

    yield open_page
    assert chromium.get_log("browser") == []
    asked = {url for url in map(requested_url, chromium.get_log("performance")) if url}
    assert asked <= {page.as_uri() for page in path}


def requested_url(entry: dict[str, Any]) -> str | None:
    """The address that an entry of the performance log says was asked for."""
    message = json.loads(entry["message"])["message"]
    asked = message["method"] == "Network.requestWillBeSent"
    return message["params"]["request"]["url"].partition("#")[0] if asked else None
