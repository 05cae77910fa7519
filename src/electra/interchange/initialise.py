"""A run's towers with the weights of encoders that were trained before."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from electra.errors import UserError, convert_errors
from electra.interchange.fitting import Start, describe_fit, fit_values, list_config_differences
from electra.interchange.folders import find_tower_folders
from electra.interchange.new_vocabulary import match_vocabularies
from electra.interchange.published import HeadKind, Role, read_published
from electra.model.embeddings import DeltaEmbedding
from electra.model.encoder import Tower
from electra.model.heads import TokenHead
from electra.tokenization.loading import load_tokenizer
from electra.tokenization.tokenizer import Tokenizer

# What the kept encoder may begin with, the best first: where it detects, where it recovers tokens beside a generator,
# and where it does so alone.
DETECTS: tuple[Role, ...] = ("discriminator", "encoder")
RECOVERS: tuple[Role, ...] = ("encoder", "discriminator")
RECOVERS_ALONE: tuple[Role, ...] = ("encoder", "generator", "discriminator")
HEADS = {"token": "the head that predicts tokens", "detection": "the head that detects replaced ones"}


class Outcome(NamedTuple):
    """``lines`` say what was taken from where, what was changed, left out or is new; ``begun``: the towers that are
    models of the folder."""

    lines: list[str]
    begun: set[str]


def read_starts(folder: Path, tokenizer: Tokenizer | None = None) -> list[Start]:
    """The encoders in a folder: one model's, or those in ``encoder/``, ``discriminator/`` and ``generator/`` of a run's
    ``final/`` or of the run's own folder. ``tokenizer``: the run's; None: those of the folder.

    Raises:
        UserError: as ``read_published`` and ``load_tokenizer``.
    """
    with convert_errors(str(folder), OSError):
        return [read_start(tower, tokenizer) for tower in find_tower_folders(folder)]


def read_start(tower: Path, tokenizer: Tokenizer | None) -> Start:
    """The encoder in one model's folder."""
    source = read_published(tower)
    if tokenizer is None:
        return Start(source)
    if not any((tower / name).exists() for name in ("tokenizer.json", "vocab.txt", "vocab.json")):
        return Start(source, note=f"{tower}: no tokenizer there; its word pieces are taken to be those of the data")
    return Start(source, match_vocabularies(load_tokenizer(tower, needs=()), tokenizer))


def initialise_towers(towers: Mapping[str, Tower], starts: Sequence[Start], lowest: bool = False) -> Outcome:
    """Give towers, the kept encoder last, the weights of the starts that suit them best.

    A generator that is not among them is made: with fresh weights or, if ``lowest``, the lowest layers of the encoder;
    embeddings that it shares come with the encoder. Nothing is changed unless all of it can be.

    Raises:
        UserError: an encoder that differs from the run's, or none that can be used; towers that share their embeddings,
            where the folders' differ; a generator of another width than the layers that it should begin with.
    """
    chosen = choose_starts(towers, starts)
    values = {name: fit_values(start, towers[name]) for name, start in chosen.items()}
    lines = {
        name: f"weights from {start.source.folder}{'' if has_head(values[name]) else '; its head is new'}"
        for name, start in chosen.items()
    }
    shares = len({id(tower.embeddings) for tower in towers.values()}) < len(towers)
    if shares and len(values) == 2:
        refuse_different_embeddings(chosen, values)
    kept = list(towers)[-1]
    for name in [name for name in towers if name not in chosen]:
        values[name], lines[name] = {}, "new weights"
        if kept in chosen:
            values[name], lines[name] = make_generator(towers[name], towers[kept], chosen[kept], lowest)
        lines[name] += f"; embeddings shared with the {next(iter(chosen))}" if shares else ""
    for name, tower in towers.items():  # the generator first: an encoder's Δ is the difference from its table
        tower.take(values[name])
    heads = {find_head_kind(tower) for name, tower in towers.items() if has_head(values[name])}
    said = [f"{name}: {lines[name]}" for name in lines]
    for start in starts:
        if start not in chosen.values():
            said.append(f"{start.source.role}: not used, in {start.source.folder}")
            continue
        said += describe_fit(start, towers[kept].config)
        left_out = [*start.source.dropped, *(HEADS[head] for head in {start.source.head} - {"", *heads})]
        said += [f"{start.source.folder}: left out: {', '.join(left_out)}"] if left_out else []
    return Outcome(said, set(chosen))


def choose_starts(towers: Mapping[str, Tower], starts: Sequence[Start]) -> dict[str, Start]:
    """The start of each tower that has one, by the tower's name.

    Raises:
        UserError: an encoder differs from that of the tower it is for, or there is none for any tower.
    """
    by_role = {start.source.role: start for start in starts}
    *generators, kept = towers
    order = DETECTS if find_head_kind(towers[kept]) == "detection" else RECOVERS if generators else RECOVERS_ALONE
    candidates = [by_role[role] for role in order if role in by_role]
    chosen: dict[str, Start] = {}
    for name in generators:
        encoder = by_role.get("encoder")
        if "generator" in by_role:
            require_equal_config(by_role["generator"], towers[name], name)
            chosen[name] = by_role["generator"]
        elif encoder and encoder.source.head == "token" and not list_config_differences(encoder, towers[name]):
            chosen[name] = encoder
    fitting = [start for start in candidates if not list_config_differences(start, towers[kept])]
    if fitting:
        chosen[kept] = fitting[0]
    for start in candidates[:1]:
        if start not in chosen.values():
            require_equal_config(start, towers[kept], kept)
    if not chosen:
        folder = starts[0].source.folder
        raise UserError(f"{folder}: holds a {' and a '.join(by_role)}; this run has a {' and a '.join(towers)}")
    return chosen


def require_equal_config(start: Start, tower: Tower, name: str) -> None:
    """Raise ``UserError`` if a start's encoder computes something else than that of the tower of this name."""
    if differences := list_config_differences(start, tower):
        remedy = "Leave out the encoder's settings, and what the folder says is taken"
        if name == "generator":
            remedy = (
                "Leave out the generator's width and depth, and what the folder says is taken; for an objective whose "
                "generator has other sizes name the encoder's folder alone, and its generator begins fresh"
            )
        raise UserError(f"{start.source.folder}: not the {name} of this run: {'; '.join(differences)}. {remedy}")


def make_generator(generator: Tower, kept: Tower, start: Start, lowest: bool) -> tuple[dict[str, Tensor], str]:
    """What a generator that no folder holds begins with, by name, and that in words. ``start``: the kept encoder's.

    If it is as wide as the encoder it gets the head that predicts tokens, if there is one, and the table that the
    encoder's Δ is added to.

    Raises:
        UserError: it should begin as the encoder's lowest layers, and has another width or more layers.
    """
    ours, folder = generator.config, start.source.folder
    whole = list_config_differences(start, generator)
    same_layers = all(difference.startswith(("layers:", "global_every:")) for difference in whole)
    if lowest and (not same_layers or ours.layers > start.source.config.layers):
        raise UserError(
            f"--init-generator lowest: the generator is not the lowest layers of {folder}: {'; '.join(whole)}. Give it "
            "the encoder's width (objective.generator_width 1), and a depth of 1 at most"
        )
    values = fit_values(start, generator) if same_layers else {}
    if not lowest:
        disentangled = isinstance(kept.embeddings.tokens, DeltaEmbedding)
        values = {
            name: value
            for name, value in values.items()
            if name.startswith("head.") or (disentangled and name == "embeddings.tokens.weight")
        }
    if lowest:
        head = " and its head" if has_head(values) else ""
        return values, f"layers 1 to {ours.layers} of {folder}{head}"
    return values, f"new weights, and the head of {folder}" if has_head(values) else "new weights"


def has_head(values: Mapping[str, Tensor]) -> bool:
    """Whether a head is among a tower's parameters."""
    return any(name.startswith("head.") for name in values)


def find_head_kind(tower: Tower) -> HeadKind:
    """What a tower's head does."""
    return "token" if isinstance(tower.head, TokenHead) else "detection"


def refuse_different_embeddings(chosen: Mapping[str, Start], values: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Raise ``UserError`` if two towers, which are to share their embeddings, come with different ones."""
    (tensors, other), folders = values.values(), [start.source.folder for start in chosen.values()]
    for name, value in tensors.items():
        if name.startswith("embeddings.") and not torch.equal(value, other[name]):
            raise UserError(
                f"{folders[0]} and {folders[1]}: the towers' {name} differ, and this run shares them; use "
                "--objective.embeddings own"
            )
