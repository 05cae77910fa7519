"""The towers of an ELECTRA checkpoint: their sizes from the variables' shapes, their weights bit for bit."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from electra.errors import convert_errors
from electra.interchange.tensorflow.bundle import FLOAT32, Checkpoint, Variable
from electra.interchange.tensorflow.names import (
    DETECTION_HEAD,
    ENCODER,
    GENERATOR,
    TOKEN_HEAD,
    VariableNames,
    count_left_out,
    find_kind,
    is_turned_over,
    list_names,
    shorten_names,
)
from electra.model.config import ClassicConfig
from electra.model.embeddings import build_embeddings
from electra.model.encoder import Tower

HEAD_SIZE = 64  # of all released models; no shape says it
SEED = 0  # of a head that is not there


class Source(NamedTuple):
    """What the names of a tower's variables begin with: of its layers, of its embeddings, of its head. The head is
    empty where the checkpoint has none."""

    layers: str
    embeddings: str
    head: str


class Towers(NamedTuple):
    """The towers of a checkpoint by their names in ``final/``; what each was read from; and how many variables are in
    none of them, by what they are."""

    towers: dict[str, Tower]
    sources: dict[str, Source]
    left_out: dict[str, int]


def read_towers(checkpoint: Checkpoint, heads: int = 0, generator_heads: int = 0) -> Towers:
    """The towers of a checkpoint.

    One of replaced token detection has a discriminator, and a generator unless it replaced tokens uniformly; one of
    masked language modelling has a generator alone, as a run's ``final/``. Fine-tuning keeps no head of pre-training:
    the discriminator then gets a fresh one, always the same. ``heads``, ``generator_heads``: of attention; 0: by the
    width.

    Raises:
        UserError: no ELECTRA; variables that are missing, unknown, or of another shape or type than they should have;
            damaged bytes; heads that the width does not tell, or that it cannot be cut into.
    """
    variables = checkpoint.variables
    sources = find_sources([name for name in variables if not find_kind(name)])
    with convert_errors(str(checkpoint.index), ValueError):
        configs = {
            name: infer_config(variables, source, generator_heads if source.layers == GENERATOR else heads)
            for name, source in sources.items()
        }
        names = {name: list_names(config, *sources[name]) for name, config in configs.items()}
        if generator_heads and not any(source.layers == GENERATOR for source in sources.values()):
            raise ValueError("it has no generator with layers of its own, so leave out --generator-heads")
        used = {variable for listed in names.values() for parts in listed.values() for variable in parts}
        if missing := sorted(used - variables.keys()):
            raise ValueError(f"missing variables: {shorten_names(missing)}")
        left_out = count_left_out(variables, used)
        for config in configs.values():
            refuse_impossible_sizes(variables, config)
        towers = build_towers(sources, configs)
        for name, tower in towers.items():
            refuse_other_shapes(variables, tower.values(), names[name])
    for name, tower in towers.items():
        for ours, parts in names[name].items():
            tower.take({ours: torch.cat([read_tensor(checkpoint, variable) for variable in parts])})
    return Towers(towers, sources, left_out)


def find_sources(names: Collection[str]) -> dict[str, Source]:
    """The towers that variables of these names make, generator first."""
    firsts = {"/".join(name.split("/")[:depth]) for name in names for depth in (1, 2)}
    predicts, detects, apart = TOKEN_HEAD in firsts, DETECTION_HEAD in firsts, GENERATOR in firsts
    sources = {}
    if predicts or apart:
        embeddings = GENERATOR if f"{GENERATOR}/embeddings" in firsts else ENCODER
        sources["generator"] = Source(GENERATOR if apart else ENCODER, embeddings, TOKEN_HEAD)
    if detects or apart or not predicts:
        sources["discriminator"] = Source(ENCODER, ENCODER, DETECTION_HEAD if detects or apart else "")
    return sources


def infer_config(variables: Mapping[str, Variable], source: Source, heads: int) -> ClassicConfig:
    """The config of a tower, from the shapes of its variables. Raises ``ValueError`` if they say none."""
    vocab_size, embedding_size = find_shape(variables, f"{source.embeddings}/embeddings/word_embeddings")
    project = f"{source.layers}/embeddings_project/kernel"
    hidden_size = find_shape(variables, project)[1] if project in variables else embedding_size
    place = f"{source.layers}/encoder/layer_"
    return ClassicConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        layers=len({name.split("/")[2] for name in variables if name.startswith(place)}),
        heads=choose_heads(source.layers, hidden_size, heads),
        intermediate_size=find_shape(variables, f"{place}0/intermediate/dense/kernel")[1],
        embedding_size=embedding_size,
        max_positions=find_shape(variables, f"{source.embeddings}/embeddings/position_embeddings")[0],
        segments=find_shape(variables, f"{source.embeddings}/embeddings/token_type_embeddings")[0],
    )


def find_shape(variables: Mapping[str, Variable], name: str) -> tuple[int, int]:
    """The shape of a matrix. Raises ``ValueError`` if it is not there, or is no matrix."""
    if name not in variables:
        there = shorten_names(sorted(variables)) or "no variables"
        raise ValueError(f"no ELECTRA of the original code: without {name}, but with {there}")
    variable = variables[name]
    if len(variable.shape) != 2 or 0 in variable.shape:
        raise ValueError(f"{name}: found {variable}, expected a matrix")
    return variable.shape[0], variable.shape[1]


def choose_heads(scope: str, hidden_size: int, heads: int) -> int:
    """How many heads a tower has: so many if not 0, else one for each 64 of its width, as the original code counts a
    generator's. Raises ``ValueError`` if that cannot be."""
    flag = "--generator-heads" if scope == GENERATOR else "--heads"
    chosen = heads or max(1, hidden_size // HEAD_SIZE)
    if hidden_size % chosen:
        raise ValueError(
            f"{scope} is {hidden_size} wide, which cannot be cut into {chosen} equal heads; say how many with {flag}"
        )
    return chosen


def refuse_impossible_sizes(variables: Mapping[str, Variable], config: ClassicConfig) -> None:
    """Raise ``ValueError`` if a tower's matrices have more numbers than all variables: before any is made."""
    rows = config.vocab_size + config.max_positions + config.segments
    layer = config.hidden_size * (4 * config.hidden_size + 2 * config.intermediate_size)
    needed = 4 * (rows * config.embedding_size + config.layers * layer)  # bytes
    there = sum(variable.size for variable in variables.values())
    if needed > there:
        raise ValueError(f"the shapes do not fit together: {needed:,} bytes of matrices, where there are {there:,}")


def build_towers(sources: Mapping[str, Source], configs: Mapping[str, ClassicConfig]) -> dict[str, Tower]:
    """Fresh towers, always the same; those with the same source of embeddings share them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        tables = {source.embeddings: build_embeddings(configs[name]) for name, source in sources.items()}
        return {
            name: (Tower.token if source.head == TOKEN_HEAD else Tower.detection)(
                configs[name], tables[source.embeddings]
            )
            for name, source in sources.items()
        }


def refuse_other_shapes(
    variables: Mapping[str, Variable], parameters: Mapping[str, Tensor], names: VariableNames
) -> None:
    """Raise ``ValueError`` for a variable of another shape than its parameter, or one that is not float32."""
    for ours, parts in names.items():
        rows, *columns = parameters[ours].shape
        shape = (rows // len(parts), *columns)
        for name in parts:
            expected = shape[::-1] if is_turned_over(name) else shape
            if (variables[name].dtype, variables[name].shape) != (FLOAT32, expected):
                raise ValueError(f"{name}: found {variables[name]}, expected float32 {list(expected)}")


def read_tensor(checkpoint: Checkpoint, name: str) -> Tensor:
    """A variable in our layout."""
    values = torch.from_numpy(checkpoint.read(name))
    return values.T if is_turned_over(name) else values
