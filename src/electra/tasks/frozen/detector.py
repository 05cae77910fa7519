"""How likely each token of a sentence was replaced, by a discriminator."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from electra.errors import UserError
from electra.interchange import huggingface
from electra.interchange.folders import WEIGHTS_FILE
from electra.model.encoder import Tower
from electra.model.heads import DetectionHead
from electra.tasks.frozen.sentence_windows import Pieces, ReportShare, SentenceWindow, cut_windows, report_nothing
from electra.tasks.frozen.texts import pad_texts
from electra.tasks.frozen.unpadded import sentence_limit
from electra.tokenization.loading import load_tokenizer
from electra.tokenization.tokenizer import Tokenizer

BATCH = 2048  # tokens that a discriminator reads at once, padding included


@dataclass(frozen=True)
class Detector:
    """A discriminator on its device, with its tokenizer. ``batch``: tokens that it reads at once."""

    tower: Tower
    tokenizer: Tokenizer
    batch: int = BATCH

    @torch.no_grad()
    def judge_tokens(
        self, sentences: Sequence[Pieces], report: ReportShare = report_nothing
    ) -> list[Float32[np.ndarray, " _"]]:
        """P(replaced) of each sentence's tokens. A sentence with more of them than the tower has positions is read in
        windows that overlap. ``report`` is told after each batch."""
        windows = list(cut_windows(sentences, sentence_limit(self.tower)))
        judged = [np.zeros(len(pieces.ids), np.float32) for pieces in sentences]
        done, all_read = 0, sum(window.length for window in windows)
        for batch in split_into_batches(windows, self.batch):
            for window, probabilities in zip(batch, self.read_windows(batch).numpy(), strict=True):
                own = probabilities[window.first + 1 : window.last + 1]  # behind [CLS]
                judged[window.sentence][window.start + window.first : window.start + window.last] = own
            report((done := done + sum(window.length for window in batch)) / all_read)
        return judged

    def read_windows(self, windows: Sequence[SentenceWindow]) -> Float[Tensor, "windows length"]:
        """P(replaced) of each token that is read, special tokens and padding included."""
        padded = pad_texts([window.pieces.ids for window in windows], self.tokenizer)
        device = next(self.tower.parameters()).device
        hidden = self.tower.hidden(*(tensor.to(device) for tensor in padded))
        return self.tower.detection_logits(hidden).sigmoid().cpu()


def split_into_batches(windows: Sequence[SentenceWindow], most: int) -> Iterator[list[SentenceWindow]]:
    """The windows by length, in batches of up to ``most`` tokens with padding, or of one window that has more."""
    batch = list[SentenceWindow]()
    for window in sorted(windows, key=lambda window: window.length):
        if batch and (len(batch) + 1) * window.length > most:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch


def load_detector(run: Path, device: torch.device) -> Detector:
    """The discriminator of a run folder or an exported one, or of a folder with one model, on a device.

    Raises:
        UserError: a folder without a discriminator or its tokenizer, or one that Electric trained.
    """
    folder = find_discriminator(run)
    tower, tokenizer = huggingface.load_tower(folder), load_tokenizer(folder)
    if not isinstance(tower.head, DetectionHead):
        raise UserError(f"{folder}: a generator: it predicts tokens; this needs the tower that detects replaced ones")
    if huggingface.read_objective(folder) == "electric":
        # P(replaced) = σ(f + log q + …) needs the generator's q, which is not known of a text that nobody corrupted.
        raise UserError(f"{folder}: trained by electric: its head gives energies, not whether a token was replaced")
    return Detector(tower.to(device), tokenizer)


def find_discriminator(run: Path) -> Path:
    """The discriminator's folder in a run folder or an exported one; or ``run`` itself, if it holds a model.

    Raises:
        UserError: none is there.
    """
    for folder in (run / "final" / "discriminator", run / "discriminator", run):
        if (folder / "config.json").is_file() and (folder / WEIGHTS_FILE).is_file():
            return folder
    raise UserError(f"{run}: no discriminator here; is the run finished? `electra pretrain --out {run}` goes on")
