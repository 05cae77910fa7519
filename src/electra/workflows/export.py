"""``electra export``: a run's towers as folders that other tools load."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from electra import files
from electra.config import check_ranges
from electra.errors import UserError, convert_errors
from electra.interchange import huggingface
from electra.interchange.folders import TOWERS, final_folder
from electra.ranges import CountOrZero

Format = Literal["hf"]


@dataclass(frozen=True)
class ExportConfig:
    """Write a run's towers as folders with weights, tokenizer, vocab.txt and a model card; or the lowest layers of its
    encoder alone."""

    run: str = ""
    """Run folder, or any folder with discriminator/ and generator/."""
    out: str = ""
    """Folder to write discriminator/ and generator/ into."""
    format: Format = "hf"
    """hf: what Hugging Face's AutoModel and AutoTokenizer load."""
    keep_layers: CountOrZero = 0
    """Write the encoder alone, with so many of its layers, the lowest. The norm after the last layer, which modern
    encoders have, then follows the last one kept. 0: all towers whole."""


# What a module of interchange/ offers for a format: it reads the tower in one folder, of which it keeps the
# lowest layers (0: all), and fills another folder, new and empty.
FORMATS: dict[Format, Callable[[Path, Path, int], None]] = {"hf": huggingface.export_tower}


def export(config: ExportConfig) -> Path:
    """Write a folder for each tower into ``out``, all of them or none, and return ``out``.

    Raises:
        UserError: a run that is not finished, a folder that holds something, or an encoder of fewer layers.
    """
    check_ranges(config)
    if not config.run or not config.out:
        raise UserError("what and where? electra export RUN --out FOLDER")
    run, out = Path(config.run), Path(config.out)
    towers = [folder for name in TOWERS if (folder := final_folder(run) / name).is_dir()]
    if not towers:
        raise UserError(
            f"{run}: no final/ with towers here; is the run finished? `electra pretrain --out {run}` goes on"
        )
    if config.keep_layers:
        towers = towers[:1]
    for tower in towers:
        if (out / tower.name).exists():
            raise UserError(f"{out / tower.name}: is there already; choose another --out")
    if not files.is_vacant(out):
        raise UserError(f"{out}: holds something already; choose another --out")
    with convert_errors(str(out), OSError), files.write_whole_folder(out, "export") as partial:
        for tower in towers:
            FORMATS[config.format](tower, partial / tower.name, config.keep_layers)
    for tower in towers:
        print(f"{out / tower.name}: {tower.name}")
    return out
