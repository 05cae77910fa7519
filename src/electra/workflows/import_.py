"""``electra import``: a checkpoint of ELECTRA's original code as folders that this program, and others, go on from."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from electra import files
from electra.config import check_ranges
from electra.errors import UserError, convert_errors
from electra.interchange.huggingface import save_tower
from electra.interchange.tensorflow.bundle import find_checkpoint, open_checkpoint
from electra.interchange.tensorflow.names import GENERATOR
from electra.interchange.tensorflow.towers import Towers, read_towers
from electra.ranges import CountOrZero
from electra.tokenization.kinds import Spelling
from electra.tokenization.loading import load_tokenizer
from electra.tokenization.tokenizer import SETTINGS_FILES, Tokenizer

Casing = Literal["guess", "uncased", "cased"]

VOCABULARY = "vocab.txt"
CARD = """---
library_name: transformers
tags: [electra]
---
# {tower}

The {tower} of the TensorFlow checkpoint `{checkpoint}`, with the same weights: what `electra import` made of it.
"""


@dataclass(frozen=True)
class ImportConfig:
    """Read a TensorFlow 1 checkpoint of ELECTRA's original code, as Google released them, without TensorFlow.

    Writes generator/ and discriminator/ with the same weights, as a run's final/ has them: for `pretrain --init`,
    `finetune`, `evaluate`, `export`, and for AutoModel. One of masked language modelling has a generator alone.
    """

    checkpoint: str = ""
    """Folder with the checkpoint, or what the names of its files begin with: electra_small/electra_small."""
    out: str = ""
    """Folder to write."""
    vocab: str = ""
    """Vocabulary, one word piece a line. Empty: vocab.txt beside the checkpoint."""
    casing: Casing = "guess"
    """uncased: text is read in lower case and without accents. cased: as it is. guess: cased if a word piece has an
    upper-case letter."""
    heads: CountOrZero = 0
    """Heads of attention, which no shape in a checkpoint says. 0: one for each 64 of the width, as in all released
    models (Small: 4)."""
    generator_heads: CountOrZero = 0
    """Those of the generator. 0: one for each 64 of its width, which is what the original code makes."""


def import_checkpoint(config: ImportConfig) -> Path:
    """Write a folder for each tower of a checkpoint into ``out``, all of them or none, and return ``out``.

    Raises:
        UserError: no checkpoint there, a damaged one, or another model's; a vocabulary that is missing or has more word
            pieces than the model; heads that do not fit; an ``out`` that holds something.
    """
    check_ranges(config)
    if not config.checkpoint or not config.out:
        raise UserError("what and where? electra import CHECKPOINT --out FOLDER")
    out, prefix = Path(config.out), find_checkpoint(Path(config.checkpoint))
    with convert_errors(str(out), OSError):
        if not files.is_vacant(out):
            raise UserError(f"{out}: holds something already; choose another --out")
    vocabulary = Path(config.vocab) if config.vocab else prefix.with_name(VOCABULARY)
    tokenizer, reason = load_word_pieces(vocabulary, config.casing)
    found = read_towers(open_checkpoint(prefix), config.heads, config.generator_heads)
    rows = min(tower.config.vocab_size for tower in found.towers.values())
    if tokenizer.size > rows:
        raise UserError(f"{vocabulary}: {tokenizer.size:,} word pieces, but the checkpoint has rows for {rows:,}")
    write_towers(found, tokenizer, out, prefix.name)
    unused = f"; {rows - tokenizer.size:,} rows of the table have none" if rows > tokenizer.size else ""
    print(f"{vocabulary}: {tokenizer.size:,} word pieces, {reason}{unused}")
    for line in describe_towers(found, config):
        print(line)
    return out


def load_word_pieces(path: Path, casing: Casing) -> tuple[Tokenizer, str]:
    """The tokenizer of a vocab.txt, and in words whether it keeps the case of letters, and why.

    Raises:
        UserError: no such file, or one that is no vocabulary; a tokenizer_config.json beside it says another casing.
    """
    with convert_errors(str(path), OSError):
        if not path.is_file():
            raise UserError(f"{path}: no such file; --vocab FILE names the vocabulary, one word piece a line")
    upper = sum(map(has_upper_case, load_tokenizer(path).backend.get_vocab()))
    chosen = casing
    if casing == "guess":
        chosen = "cased" if upper else "uncased"
    tokenizer = load_tokenizer(path, Spelling(lower_case=chosen == "uncased", strip_accents=chosen == "uncased"))
    if tokenizer.backend.normalizer.lowercase != (chosen == "uncased"):
        raise UserError(
            f"{path}: {chosen} by {'its word pieces' if casing == 'guess' else '--casing'}, but "
            f"{path.with_name(SETTINGS_FILES[0])} says otherwise; --casing or that file must change"
        )
    return tokenizer, f"{chosen}: {f'{upper:,}' if upper else 'none'} of them with an upper-case letter"


def has_upper_case(piece: str) -> bool:
    """Whether a word piece, but a special token, has a letter that the lower case does not have."""
    return piece != piece.lower() and not (piece.startswith("[") and piece.endswith("]"))


def write_towers(found: Towers, tokenizer: Tokenizer, out: Path, checkpoint: str) -> None:
    """Write a folder for each tower, with the tokenizer and a card that names the checkpoint."""
    with TemporaryDirectory() as place, convert_errors(str(out), OSError):
        tokenizer.save(Path(place))
        with files.write_whole_folder(out, "import") as partial:
            for name, tower in found.towers.items():
                save_tower(partial / name, tower, Path(place), CARD.format(tower=name, checkpoint=checkpoint))


def describe_towers(found: Towers, config: ImportConfig) -> Iterator[str]:
    """What was read, what was assumed, made or left out: a line for each tower and kind of variable."""
    for name, tower in found.towers.items():
        shape, source = tower.config, found.sources[name]
        apart = source.layers == GENERATOR
        asked, flag = (config.generator_heads, "--generator-heads") if apart else (config.heads, "--heads")
        heads = f"{shape.heads} head{'s' * (shape.heads > 1)} of {shape.hidden_size // shape.heads}"
        shared = len(found.towers) == 2 and name == "generator" and source.embeddings != GENERATOR
        yield (
            f"{Path(config.out) / name}: {shape.layers} layers, {shape.hidden_size} wide, "
            f"{heads}{'' if asked else f' (assumed; else say {flag})'}, embeddings of {shape.embedding_size}"
            f"{', shared with the discriminator' if shared else ''}"
        )
        if not source.head:
            yield f"{name}: its head is new: the checkpoint has none, as after fine-tuning"
    for kind, count in found.left_out.items():
        yield f"left out: {kind} ({count} variable{'s' * (count > 1)})"
