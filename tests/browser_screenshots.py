"""Pictures of what a browser shows, for a person to look at."""

import base64
import os
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SCREENSHOTS = Path(os.environ.get("SCREENSHOTS", ROOT / "screenshots"))


def keep_screenshot(driver: Any, name: str, whole: bool = False) -> Path:
    """Write what is seen, or the whole page, as a PNG into ``SCREENSHOTS``."""
    SCREENSHOTS.mkdir(exist_ok=True)
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": whole})
    path = SCREENSHOTS / f"{name}.png"
    path.write_bytes(base64.b64decode(shot["data"]))
    return path
