"""An encoder that was read, made to fit a tower of a run: another vocabulary, other positions, another head."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from electra.interchange.new_vocabulary import NewVocabulary
from electra.interchange.published import Published
from electra.model.config import EncoderConfig, ModernConfig
from electra.model.encoder import Tower
from electra.model.heads import TokenHead

TABLES = ("embeddings.tokens.weight", "head.bias")  # what has a row for each token
POSITIONS = "embeddings.positions.weight"


@dataclass(frozen=True, eq=False)
class Start:
    """An encoder to begin with. ``vocabulary``: how its rows become those of the run's tokens; None: they are those.

    ``note``: what a person must know of its tokenizer.
    """

    source: Published
    vocabulary: NewVocabulary | None = None
    note: str = ""


def fit_values(start: Start, tower: Tower) -> dict[str, Tensor]:
    """What the start has of a tower's parameters, by name: embeddings, the layers that the tower has, and the head if
    it is of the same kind. Rows and positions are those of the tower."""
    source, fresh = start.source, tower.values()
    with_head = bool(source.head) and (source.head == "token") == isinstance(tower.head, TokenHead)
    values = {
        name: value
        for name, value in source.values.items()
        if name in fresh and (with_head or not name.startswith("head."))
    }
    if start.vocabulary:
        for name in values.keys() & set(TABLES):
            values[name] = start.vocabulary.make_rows(values[name], fresh[name])
    if POSITIONS in values:
        values[POSITIONS] = fit_positions(values[POSITIONS], len(fresh[POSITIONS]))
    return values


def fit_positions(table: Tensor, count: int) -> Tensor:
    """The first ``count`` rows of a table of learned positions; of more than it has, all of them drawn out by linear
    interpolation, so that the first and the last are where they were."""
    if count <= len(table):
        return table[:count]
    return F.interpolate(table.T[None], size=count, mode="linear", align_corners=True)[0].T


def list_config_differences(start: Start, tower: Tower) -> list[str]:
    """What makes the start's encoder and a tower's different functions of the same tokens, a line each.

    Other positions are none, nor is another base of rotary ones where there are more of them.
    """
    theirs, ours = start.source.config, tower.config
    there, here = computing_settings(theirs), computing_settings(ours)
    free = ["vocab_size"] if start.vocabulary else []
    if ours.max_positions > theirs.max_positions:
        free.append("global_theta")
    names = [name for name in dict.fromkeys(chain(there, here)) if name not in free]
    return [
        f"{name}: {there.get(name)} there, {here.get(name)} here" for name in names if there.get(name) != here.get(name)
    ]


def computing_settings(config: EncoderConfig) -> dict[str, Any]:
    """The settings that decide what the encoder computes: dropout, the spread of initial weights and the number of
    positions do not."""
    settings = asdict(config)
    for name in ("dropout", "attention_dropout", "init_std", "max_positions"):
        del settings[name]
    if isinstance(config, ModernConfig):
        settings["global_every"] = [index for index in range(config.layers) if config.window(index) is None]
    return settings


def describe_fit(start: Start, config: EncoderConfig) -> Iterator[str]:
    """Lines that say how a start was changed to fit an encoder of this config."""
    theirs, folder = start.source.config, start.source.folder
    if start.note:
        yield start.note
    if start.vocabulary:
        yield f"{folder}: another vocabulary than the data's: {start.vocabulary.describe()}"
    before, now = theirs.max_positions, config.max_positions
    if isinstance(config, ModernConfig) and isinstance(theirs, ModernConfig) and now > before:
        yield f"{folder}: {before:,} positions become {now:,}: {describe_theta(theirs, config)}"
    elif not isinstance(config, ModernConfig) and now != before:
        how = "drawn out by interpolation" if now > before else "the first of them"
        yield f"{folder}: {before:,} learned positions become {now:,}: {how}"


def describe_theta(theirs: ModernConfig, ours: ModernConfig) -> str:
    """What became of the base of rotary positions. The base that is advised turns the slowest pair of a head as far
    over the new length as it turned over the old one (NTK-aware scaling)."""
    if ours.global_theta != theirs.global_theta:
        return f"rotary, with global_theta {ours.global_theta:,.0f} in place of {theirs.global_theta:,.0f}"
    pairs = ours.hidden_size // ours.heads
    longer = ours.max_positions / theirs.max_positions
    advised = theirs.global_theta * longer ** (pairs / max(1, pairs - 2))
    return (
        f"rotary, and nothing to change; for texts so long --encoder.global-theta {advised:.3g} keeps the slowest "
        "rotations as they were"
    )
