"""Held-out texts of a run as its discriminator read them: corrupted as in training, each token with P(replaced)."""

from collections.abc import Iterator
from pathlib import Path

from tokenizers import decoders

from electra.engine.parallel import Parallel, flush_denormals
from electra.report.html.content import JudgedTexts, JudgedToken
from electra.tasks.frozen.retrieval import JudgedBatch, judge_batches
from electra.tokenization.tokenizer import Tokenizer
from electra.workflows.trained import Trained

CONTINUES, SPACE_MARK = (
    "##",
    "▁",
)  # how a word piece starts that continues a word; how one of sentencepiece begins a word


def judge_held_out_texts(run: Path, name: str, data: str, count: int, parallel: Parallel) -> JudgedTexts:
    """The first ``count`` held-out rows of a run, each parted into its texts. ``data``: the run's own if empty.

    Raises:
        UserError: as ``Trained.open``; or a masked language model, which detects nothing.
    """
    trained = Trained.open(run, data)
    tokenizer = trained.data.tokenizer
    texts = list[list[JudgedToken]]()
    with flush_denormals():
        for batch in judge_batches(
            trained.pretrainer, trained.rows("held-out"), count, trained.batch_rows, parallel.device
        ):
            texts += split_into_texts(batch, tokenizer)
    return JudgedTexts(name, texts)


def split_into_texts(judged: JudgedBatch, tokenizer: Tokenizer) -> Iterator[list[JudgedToken]]:
    """The texts of a batch's rows: what stands between special tokens."""
    view = judged.view
    columns = (
        view.ids, view.original, view.batch.choosable, judged.counted, judged.replaced, judged.logits.sigmoid(),
    )  # fmt: skip
    for row in zip(*(column.cpu().tolist() for column in columns), strict=True):
        text = list[JudgedToken]()
        for token_id, original, is_text, counted, replaced, probability in zip(*row, strict=True):
            if is_text:
                word, continues = spell_token(tokenizer, token_id)
                was = spell_token(tokenizer, original)[0] if replaced else None
                text.append(JudgedToken(word, continues, was, probability if counted else None))
            elif text:
                yield [text[0]._replace(continues=True), *text[1:]]
                text = []
        if text:
            yield [text[0]._replace(continues=True), *text[1:]]


def spell_token(tokenizer: Tokenizer, token_id: int) -> tuple[str, bool]:
    """A token as a person reads it, and whether it stands behind the one before without a space."""
    token, decoder = str(tokenizer.backend.id_to_token(token_id)), tokenizer.backend.decoder
    if isinstance(decoder, decoders.ByteLevel):
        text = tokenizer.backend.decode([token_id], skip_special_tokens=False)
        return text.lstrip(" ") or text, not text.startswith(" ")
    if isinstance(decoder, decoders.Metaspace):
        return token.removeprefix(SPACE_MARK) or token, not token.startswith(SPACE_MARK)
    return token.removeprefix(CONTINUES), token.startswith(CONTINUES)
