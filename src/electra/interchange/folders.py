"""Where models lie: in a run folder, in an exported one, or in a folder that holds one model itself."""

from pathlib import Path

from electra import fingerprints
from electra.errors import UserError, convert_errors

TOWERS = ("encoder", "discriminator", "generator")  # folders with one tower each; the first is what a run is for
WEIGHTS_FILE = "model.safetensors"
# What an encoder's function and its tokenizer are made of, in all spellings.
MODEL_FILES = (
    "config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.txt", "vocab.json", "merges.txt", "*.model",
)  # fmt: skip


def final_folder(folder: Path) -> Path:
    """The ``final`` folder of a run, which holds a folder for each tower; any other folder itself."""
    return folder / "final" if (folder / "final").is_dir() else folder


def find_tower_folders(folder: Path) -> list[Path]:
    """The folders with one tower each, generator first; ``folder`` itself if it is one, or if there is none."""
    if (folder / "config.json").exists() and (folder / WEIGHTS_FILE).exists():
        return [folder]
    towers = [final_folder(folder) / name for name in reversed(TOWERS)]
    return [tower for tower in towers if tower.is_dir()] or [folder]


def find_encoder(folder: Path) -> Path:
    """The folder of the encoder in a run folder or an exported one: the first of ``TOWERS`` that is there.

    Raises:
        UserError: no model there.
    """
    for tower in (*(inside / name for name in TOWERS for inside in (folder / "final", folder)), folder):
        if (tower / "config.json").is_file() and any(tower.glob("*.safetensors")):
            return tower
    raise UserError(
        f"{folder}: no model here; expected a finished run, or a folder with config.json, {WEIGHTS_FILE} and a "
        "tokenizer"
    )


def fingerprint_encoder(folder: Path) -> str:
    """A hash that is equal for encoders with the same weights, config and tokenizer; ``folder`` as in ``find_encoder``.

    Raises:
        UserError: no model there, or a file of it that cannot be read.
    """
    encoder = find_encoder(folder)
    with convert_errors(str(encoder), OSError):
        return fingerprints.hash_folder(encoder, MODEL_FILES)
