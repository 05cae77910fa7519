"""``electra inspect``: which tokens of a text look replaced."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from electra import files
from electra import tokenization as word_pieces
from electra.engine.parallel import Parallel
from electra.errors import UserError, convert_errors, escape_controls
from electra.files import write_whole
from electra.interchange import huggingface
from electra.model.encoder import Tower
from electra.model.heads import DetectionHead
from electra.report.page import SIGN, render_page
from electra.tasks.frozen.texts import pad_texts
from electra.tokenization import Tokenizer

MARK_FROM = 0.25  # probability from which a token is marked where there are no colours


@dataclass(frozen=True)
class InspectConfig:
    """Show, token by token, how likely the discriminator thinks that it was replaced."""

    run: str = ""
    """Run folder, or a folder with a discriminator."""
    texts: tuple[str, ...] = ()
    """Texts to look at."""
    json: bool = False
    """Print JSON: a line for each text with its tokens and probabilities."""
    html: str = ""
    """Write the texts, coloured, as a page into this file too."""


class ScoredPiece(NamedTuple):
    """A word piece and P(replaced)."""

    token: str
    replaced: float


def inspect(config: InspectConfig) -> list[list[ScoredPiece]]:
    """The tokens of each text.

    Raises:
        UserError: a folder without a discriminator or its tokenizer, one that Electric trained, or a page that can't be
            written.
    """
    if not config.run or not config.texts:
        raise UserError('which run and text? electra inspect FOLDER "the chef ate the meal"')
    folder = find_discriminator(Path(config.run))
    tower, tokenizer = huggingface.load_tower(folder), word_pieces.load_tokenizer(folder)
    if not isinstance(tower.head, DetectionHead):
        raise UserError(f"{folder}: a generator; `inspect` needs the tower that detects")
    if (
        huggingface.read_objective(folder) == "electric"
    ):  # P(replaced) = σ(f + log q + …) needs q, which the text has not
        raise UserError(f"{folder}: trained by electric: its head gives energies, not whether a token was replaced")
    found = []
    for text in config.texts:
        found.append(list(score_word_pieces(tower, tokenizer, text, Parallel.local_device())))
        print_word_pieces(text, found[-1], config.json)
    if config.html:
        write_page(found, Path(config.html))
    return found


def write_page(texts: Sequence[Sequence[ScoredPiece]], path: Path) -> None:
    """The page of the texts, whole or not at all, in the place of another such page or of nothing."""
    with convert_errors(str(path), OSError, ValueError):
        content = render_page(texts)
        files.refuse_foreign_file(path, SIGN)
        with write_whole(path) as partial:
            partial.write_text(content, encoding="utf-8")
    print(f"{path}: what is above, in colour", file=sys.stderr)


def find_discriminator(run: Path) -> Path:
    """The folder with the discriminator in a run, an export, or itself one."""
    for folder in (run / "final" / "discriminator", run / "discriminator", run):
        if (folder / "config.json").is_file() and (folder / "model.safetensors").is_file():
            return folder
    raise UserError(f"{run}: no discriminator here; is the run finished? `electra pretrain --out {run}` goes on")


@torch.no_grad()
def score_word_pieces(tower: Tower, tokenizer: Tokenizer, text: str, device: torch.device) -> Iterator[ScoredPiece]:
    """The text's word pieces with P(replaced); a text longer than the tower is read in parts."""
    tower.to(device)
    (ids,) = tokenizer.encode([text])
    size = tower.config.max_positions - 2
    for start in range(0, len(ids), size):
        part = ids[start : start + size]
        read = (each.to(device) for each in pad_texts([part], tokenizer))
        logits = tower.detection_logits(tower.hidden(*read))[0]
        for token, logit in zip(part, logits[1:-1].sigmoid().tolist(), strict=True):
            yield ScoredPiece(str(tokenizer.backend.id_to_token(token)), logit)


def print_word_pieces(text: str, tokens: Sequence[ScoredPiece], as_json: bool) -> None:
    """A line on standard output: coloured on a terminal, marked elsewhere."""
    from rich.console import Console
    from rich.text import Text

    if as_json:
        print(json.dumps({"text": text, "tokens": [token._asdict() for token in tokens]}))
        return
    console, line = Console(soft_wrap=True, highlight=False), Text()
    for token, replaced in tokens:
        word = escape_controls(token.removeprefix("##"))
        line.append(" " if line and not token.startswith("##") else "")
        if console.is_terminal:
            line.append(word, style=f"on rgb({round(255 * replaced)},0,0)" if replaced >= 0.1 else "")
        else:
            line.append(f"[{word} {replaced:.2f}]" if replaced >= MARK_FROM else word)
    console.print(line)
