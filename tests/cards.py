"""What every model card must hold to: its front matter is YAML, its code runs, and it says no path of the machine."""

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import yaml


def read_card(folder: Path) -> tuple[dict[str, Any], str]:
    """The front matter and the text of a README.md."""
    card = (folder / "README.md").read_text(encoding="utf-8")
    _, front, text = card.split("---\n", 2)
    machine = (str(Path.home()), str(Path.cwd()), str(folder), str(folder.parent), "/tmp/", "/home/")
    assert not [path for path in machine if path in card]
    return yaml.safe_load(front), text


def run_card(folder: Path, out: Path) -> str:
    """What the code on the card in ``folder``, which is ``out`` or within it, prints where ``out`` lies."""
    _, text = read_card(folder)
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    with contextlib.chdir(out.parent), contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, "README.md", "exec"), {})
    return printed.getvalue()
