"""A tokenizer: a vocabulary, how text is cut into its tokens, and the special tokens around it."""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers
from tokenizers import processors

from electra.errors import UserError
from electra.tokenization.settings import read_settings

SPECIAL_TOKENS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}  # BERT
TOKENIZER_CLASS = "PreTrainedTokenizerFast"  # what only reads a tokenizer.json, in every version of transformers
# Files that say how a vocab.txt is read; what the later one says holds.
SETTINGS_FILES = ("tokenizer_config.json", "special_tokens_map.json")


class Frame(NamedTuple):
    """The special tokens around a text, or around and between two: ids, each with its segment."""

    before: list[tuple[int, int]]
    between: list[tuple[int, int]]
    after: list[tuple[int, int]]
    second: int = 0
    """The segment of the second text."""

    def wrap(self, ids: Sequence[int], pair: Sequence[int] = ()) -> tuple[list[int], list[int]]:
        """(ids, segments) of a text, or of two, with the special tokens. The first text's segment is 0."""
        first, second = ((token_id, 0) for token_id in ids), ((token_id, self.second) for token_id in pair)
        tokens = [*self.before, *first, *self.between, *second, *self.after]
        return [token_id for token_id, _ in tokens], [segment for _, segment in tokens]


@dataclass(frozen=True)
class Tokenizer:
    """A vocabulary, and how text is cut into its tokens.

    ``special``: those of pad, unk, cls, sep and mask that it has → the token as text.
    """

    backend: tokenizers.Tokenizer
    special: dict[str, str]

    @cached_property
    def size(self) -> int:
        """The number of ids, with those that some vocabularies leave unused between others."""
        return max(self.backend.get_vocab(with_added_tokens=True).values()) + 1

    @property
    def ids(self) -> dict[str, int]:
        """Those of pad, unk, cls, sep and mask that it has → id."""
        return {name: self.backend.token_to_id(token) for name, token in self.special.items()}  # type: ignore[misc]

    @property
    def filler(self) -> int:
        """The id that stands where a row has no text, which nothing looks at: [PAD], or 0 where there is none."""
        return self.ids.get("pad", 0)

    @cached_property
    def frame(self) -> Frame:
        """The special tokens around one text."""
        return measure_frame(self.backend, pair=False)

    @cached_property
    def pair_frame(self) -> Frame:
        """The special tokens around two texts, and between them."""
        return measure_frame(self.backend, pair=True)

    @cached_property
    def fingerprint(self) -> str:
        """A hash that is equal for two tokenizers that give every text the same ids."""
        round_score = lambda score: f"{float(score):.6g}"  # noqa: E731  saving and loading may change its last digits
        parts = json.loads(self.backend.to_str(), parse_float=round_score)
        deciding = {key: parts[key] for key in ("normalizer", "pre_tokenizer", "model")}
        added = [token for token in parts["added_tokens"] if not token["special"]]
        content = json.dumps([deciding, self.ids, *added], sort_keys=True)
        return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text. No special tokens are added, and what looks like one in a text is read as text."""
        return [encoding.ids for encoding in self.backend.encode_batch_fast(list(texts), add_special_tokens=False)]

    def save(self, folder: Path, **settings: Any) -> None:
        """Write tokenizer.json, tokenizer_config.json and, if the model has one, vocab.txt into ``folder``.

        ``settings``: more keys of tokenizer_config.json, as transformers' tokenizers take them.

        Raises:
            OSError: the disk does not take it.
        """
        from transformers import PreTrainedTokenizerFast

        folder.mkdir(parents=True, exist_ok=True)
        with name_os_errors():
            PreTrainedTokenizerFast(
                tokenizer_object=self.backend,
                **{"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]} | settings,
                **{f"{name}_token": token for name, token in self.special.items()},
            ).save_pretrained(folder)
            self.backend.model.save(str(folder))
        path = folder / SETTINGS_FILES[0]
        written = read_settings(path) | {"tokenizer_class": TOKENIZER_CLASS}
        path.write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def name_os_errors() -> Iterator[None]:
    """Raise as ``OSError`` what tokenizers says in a plain ``Exception``: "File too large (os error 27)"."""
    try:
        yield
    except Exception as error:
        if number := re.search(r"\(os error (\d+)\)", str(error)):
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
        raise


def parse_tokenizer(content: str, special: Mapping[str, str]) -> Tokenizer:
    """The tokenizer of the content of a tokenizer.json."""
    return finish_tokenizer(tokenizers.Tokenizer.from_str(content), special)


def finish_tokenizer(backend: tokenizers.Tokenizer, special: Mapping[str, str]) -> Tokenizer:
    """The tokenizer of a backend, in which special tokens are marked.

    One that does not say which of them stand around a text has [CLS] A [SEP] B [SEP], if it has both.
    """
    backend.no_truncation()
    backend.no_padding()
    marked = {token.content for token in backend.get_added_tokens_decoder().values() if token.special}
    backend.add_special_tokens([token for token in special.values() if token not in marked])
    tokenizer = Tokenizer(backend, dict(special))
    if backend.post_processor is None and {"cls", "sep"} <= special.keys():
        cls, sep = ((special[name], tokenizer.ids[name]) for name in ("cls", "sep"))
        backend.post_processor = processors.BertProcessing(sep, cls)
    backend.encode_special_tokens = True
    return tokenizer


def measure_frame(backend: tokenizers.Tokenizer, pair: bool) -> Frame:
    """The special tokens that a backend puts around one text, or around and between two."""
    text = backend.decode([backend.get_vocab_size() - 1]) + " a 1 ."  # some of it is left of it by any normalizer
    encoding = backend.encode(text, text if pair else None)
    tokens, owners = list(zip(encoding.ids, encoding.type_ids, strict=True)), encoding.sequence_ids
    first = [index for index, owner in enumerate(owners) if owner == 0]
    second = [index for index, owner in enumerate(owners) if owner == 1]
    if not first or (pair and not second):
        raise UserError(f"the tokenizer leaves nothing of the text {text!r}")
    if not pair:
        return Frame(tokens[: first[0]], [], tokens[first[-1] + 1 :])
    between = tokens[first[-1] + 1 : second[0]]
    return Frame(tokens[: first[0]], between, tokens[second[-1] + 1 :], encoding.type_ids[second[0]])
