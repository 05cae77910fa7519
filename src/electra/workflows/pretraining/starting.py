"""What the folder of ``--init`` says of a run's settings: its encoder, and its generator if there is one."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from electra.config import load_config, overlay_config, plain_tree
from electra.errors import convert_errors
from electra.interchange.folders import find_tower_folders
from electra.interchange.published import Role, describe_published
from electra.model.config import EncoderConfig
from electra.workflows.pretraining.config import PretrainConfig

RUN_CONFIG = "config.json"
SIZES = ("generator_width", "generator_depth")
OF_GENERATOR = (*SIZES, "embeddings")  # settings of an objective that decide what its generator is


def take_settings(base: PretrainConfig, init: str, objective: str, out: str = "") -> PretrainConfig:
    """``base`` with the encoder of the folder ``init``, and the generator's width and depth if it holds one. Of a run
    the way in which the two hold their embeddings is taken too.

    ``objective``: the kind of the run's. ``out``: the run's folder; what was begun there keeps what it has, and
    ``init`` need not be there any more.

    Raises:
        UserError: no model there, one that cannot be read, or a config.json that is damaged.
    """
    with convert_errors(init, OSError):
        tree = read_begun(Path(init), out) or describe_shapes(Path(init), objective)
    known = plain_tree(base.objective).keys() & set(OF_GENERATOR)
    generator = {name: value for name, value in tree.get("objective", {}).items() if name in known}
    encoder = {"encoder": tree["encoder"]} if "encoder" in tree else {}
    return overlay_config(base, encoder | {"objective": generator}, init)


def read_begun(init: Path, out: str) -> dict[str, Any]:
    """The settings of the run that ``out`` or else ``init`` is, as plain values; empty if neither is one."""
    of_run = (init / "final").is_dir()
    paths = [*([Path(out) / RUN_CONFIG] if out else []), *([init / RUN_CONFIG] if of_run else [])]
    path = next(filter(os.path.isfile, paths), None)  # pathlib's own raises for a name that is too long
    return plain_tree(load_config(PretrainConfig(), path)) if path else {}


def describe_shapes(folder: Path, objective: str) -> Mapping[str, Any]:
    """The settings that the models in a folder determine. Of a generator alone none are known, unless it is trained on
    as the encoder, by masked language modelling."""
    roles: dict[Role, EncoderConfig] = dict(map(describe_published, find_tower_folders(folder)))
    order: tuple[Role, ...] = ("encoder", "discriminator", *(("generator",) if objective == "mlm" else ()))
    encoder = next((roles[role] for role in order if role in roles), None)
    if encoder is None:
        return {}
    small = roles.get("generator")
    sizes = [small.hidden_size / encoder.hidden_size, small.layers / encoder.layers] if small else []
    return {"encoder": plain_tree(encoder), "objective": dict(zip(SIZES, sizes, strict=False))}
