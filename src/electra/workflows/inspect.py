"""``electra inspect``: which tokens of a text look replaced."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from electra import files
from electra.engine.parallel import Parallel
from electra.errors import UserError, convert_errors, escape_controls
from electra.files import write_whole
from electra.model.encoder import Tower
from electra.report.page import SIGN, render_page
from electra.report.plain_json import format_json
from electra.tasks.datasets.values import require_encodable
from electra.tasks.frozen.detector import Detector, load_detector
from electra.tasks.frozen.sentence_windows import encode_pieces
from electra.tokenization.tokenizer import Tokenizer

COLOUR_FROM = 0.1  # probability from which a word piece is coloured
MARK_FROM = 0.25  # probability from which it is put in brackets, where there are no colours


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
    """Print and return the word pieces of each text, with P(replaced).

    Raises:
        UserError: a folder without a discriminator or its tokenizer, one that Electric trained, a text that is not
            UTF-8, or a page that can't be written.
    """
    if not config.run or not config.texts:
        raise UserError('which run and text? electra inspect FOLDER "the chef ate the meal"')
    for number, text in enumerate(config.texts, 1):
        require_encodable(text, f"text {number}")
    detector = load_detector(Path(config.run), Parallel.local_device())
    texts = []
    for text in config.texts:
        pieces = list(score_text(detector, text))
        print_word_pieces(text, pieces, config.json)
        texts.append(pieces)
    if config.html:
        write_page(texts, Path(config.html))
    return texts


def write_page(texts: Sequence[Sequence[ScoredPiece]], path: Path) -> None:
    """Write the texts as a page, whole or not at all. Only a page of ours is replaced.

    Raises:
        UserError: another file is there, or the disk does not take it.
    """
    with convert_errors(str(path), OSError, ValueError):
        content = render_page(texts)
        files.refuse_foreign_file(path, SIGN)
        with write_whole(path) as partial:
            partial.write_text(content, encoding="utf-8")
    print(f"{path}: what is above, in colour", file=sys.stderr)


def score_word_pieces(tower: Tower, tokenizer: Tokenizer, text: str, device: torch.device) -> Iterator[ScoredPiece]:
    """The text's word pieces with P(replaced), by a discriminator that is moved to the device."""
    return score_text(Detector(tower.to(device), tokenizer), text)


def score_text(detector: Detector, text: str) -> Iterator[ScoredPiece]:
    """The text's word pieces with P(replaced)."""
    encoded = encode_pieces([text], detector.tokenizer, words=False)
    for token_id, replaced in zip(encoded[0].ids, detector.judge_tokens(encoded)[0].tolist(), strict=True):
        yield ScoredPiece(str(detector.tokenizer.backend.id_to_token(token_id)), replaced)


def print_word_pieces(text: str, pieces: Sequence[ScoredPiece], as_json: bool) -> None:
    """Print a line: JSON, or the text with what looks replaced in red on a terminal, in brackets elsewhere."""
    from rich.console import Console
    from rich.text import Text

    if as_json:
        print(format_json({"text": text, "tokens": [piece._asdict() for piece in pieces]}))
        return
    console, line = Console(soft_wrap=True, highlight=False), Text()
    shown_from = COLOUR_FROM if console.is_terminal else MARK_FROM
    for token, replaced in pieces:
        word = escape_controls(token.removeprefix("##"))
        line.append(" " if line and not token.startswith("##") else "")
        if console.is_terminal:
            line.append(word, style=f"on rgb({round(255 * replaced)},0,0)" if replaced >= shown_from else "")
        else:
            line.append(f"[{word} {replaced:.2f}]" if replaced >= shown_from else word)
    highest = max((replaced for _, replaced in pieces), default=0.0)
    if highest < shown_from:
        line.append(f"  (nothing looks replaced: {highest:.2f} at most)")
    console.print(line)
