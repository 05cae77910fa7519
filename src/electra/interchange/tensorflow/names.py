"""Google's names beside ours: the variables that ELECTRA's original code keeps, and those that no model is made of.

A table says for each of our parameters which variables it is made of, one after another along its first axis. A matrix
(``kernel``) lies in TensorFlow's files turned over: [inputs, outputs].
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence

from electra.model.config import ClassicConfig

VariableNames = dict[str, list[str]]

ENCODER, GENERATOR = "electra", "generator"  # what the names of the two towers' variables begin with
TOKEN_HEAD, DETECTION_HEAD = "generator_predictions", "discriminator_predictions"
KERNEL = "kernel"
LISTED = 3  # names in an error


def dense_names(ours: str, *theirs: str) -> VariableNames:
    """The names of a matrix and its biases, each made of those of every layer in ``theirs``."""
    return {
        f"{ours}.weight": [f"{name}/{KERNEL}" for name in theirs],
        f"{ours}.bias": [f"{name}/bias" for name in theirs],
    }


def norm_names(ours: str, theirs: str) -> VariableNames:
    """The names of a norm's gain and bias."""
    return {f"{ours}.weight": [f"{theirs}/gamma"], f"{ours}.bias": [f"{theirs}/beta"]}


EMBEDDINGS = {
    "embeddings.tokens.weight": ["embeddings/word_embeddings"],
    "embeddings.positions.weight": ["embeddings/position_embeddings"],
    "embeddings.segments.weight": ["embeddings/token_type_embeddings"],
    **norm_names("embeddings.norm", "embeddings/LayerNorm"),
}
LAYER = {
    **dense_names("qkv", "attention/self/query", "attention/self/key", "attention/self/value"),
    **dense_names("output", "attention/output/dense"),
    **norm_names("attention_norm", "attention/output/LayerNorm"),
    **dense_names("up", "intermediate/dense"),
    **dense_names("down", "output/dense"),
    **norm_names("norm", "output/LayerNorm"),
}
HEADS = {
    TOKEN_HEAD: {
        **dense_names("head.dense", "dense"),
        **norm_names("head.norm", "LayerNorm"),
        "head.bias": ["output_bias"],
    },
    DETECTION_HEAD: {**dense_names("head.dense", "dense"), **dense_names("head.classifier", "dense_1")},
}
SLOT = re.compile(r"(.+)/adam_[mv]")
LEFT_OUT = {  # names of variables that no tower is made of, and what they are
    SLOT: "Adam's averages",
    re.compile(r"global_step"): "the step",
    re.compile(r"generator_predictions/temperature"): "the temperature at which the generator was sampled",
    re.compile(r"task_specific/.+"): "heads of fine-tuned tasks",
    re.compile(r"(generator_ltr|generator_rtl|cloze_predictions)/.+"): "a two-tower generator, which is not read",
}


def list_names(config: ClassicConfig, layers: str, embeddings: str, head: str) -> VariableNames:
    """Our parameter → Google's variables, for every parameter of a tower; without its head if that is empty.

    ``layers``, ``embeddings``, ``head``: what the names of these begin with.
    """
    tables = [(embeddings, "", EMBEDDINGS)]
    if config.embedding_size != config.hidden_size:
        tables.append((layers, "", dense_names("encoder.project", "embeddings_project")))
    for index in range(config.layers):
        tables.append((f"{layers}/encoder/layer_{index}", f"encoder.layers.{index}.", LAYER))
    if head:
        tables.append((head, "", HEADS[head]))
    return {
        before + ours: [f"{place}/{name}" for name in theirs]
        for place, before, table in tables
        for ours, theirs in table.items()
    }


def count_left_out(names: Collection[str], used: Collection[str]) -> dict[str, int]:
    """How many of these variables are in no tower, by what they are. ``used``: those that are.

    Raises:
        ValueError: some that are neither used nor known to belong to no tower.
    """
    kinds = {name: find_kind(name) for name in sorted(set(names) - set(used))}
    slots = {name: match[1] for name in kinds if (match := SLOT.fullmatch(name))}
    unknown = [name for name, kind in kinds.items() if not kind or (name in slots and slots[name] not in names)]
    if unknown:
        raise ValueError(f"unknown variables: {shorten_names(unknown)}")
    return dict(Counter(kinds.values()))


def find_kind(name: str) -> str:
    """What a variable that no tower is made of is; empty for any other."""
    return next((kind for pattern, kind in LEFT_OUT.items() if pattern.fullmatch(name)), "")


def is_turned_over(name: str) -> bool:
    """Whether a variable is a matrix that lies in the file as [inputs, outputs]."""
    return name.endswith(f"/{KERNEL}")


def shorten_names(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
