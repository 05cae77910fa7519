"""``electra export``: a run's towers as folders that other tools load."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from electra import files
from electra.errors import UserError, convert_errors
from electra.interchange import huggingface
from electra.interchange.folders import TOWERS, final_folder

Format = Literal["hf"]


@dataclass(frozen=True)
class ExportConfig:
    """Write a run's towers as folders with weights, tokenizer, vocab.txt and a model card."""

    run: str = ""
    """Run folder, or any folder with discriminator/ and generator/."""
    out: str = ""
    """Folder to write discriminator/ and generator/ into."""
    format: Format = "hf"
    """hf: what Hugging Face's AutoModel and AutoTokenizer load."""


# What a module of interchange/ offers for a format: it reads the tower in one folder, and fills another, new and empty.
FORMATS: dict[Format, Callable[[Path, Path], None]] = {"hf": huggingface.export_tower}


def export(config: ExportConfig) -> Path:
    """Write a folder for each tower into ``out``, all of them or none, and return ``out``.

    Raises:
        UserError: a run that is not finished, or a folder that holds something.
    """
    if not config.run or not config.out:
        raise UserError("what and where? electra export RUN --out FOLDER")
    run, out = Path(config.run), Path(config.out)
    towers = [folder for name in TOWERS if (folder := final_folder(run) / name).is_dir()]
    if not towers:
        raise UserError(
            f"{run}: no final/ with towers here; is the run finished? `electra pretrain --out {run}` goes on"
        )
    for tower in towers:
        if (out / tower.name).exists():
            raise UserError(f"{out / tower.name}: is there already; choose another --out")
    if not files.is_vacant(out):
        raise UserError(f"{out}: holds something already; choose another --out")
    with convert_errors(str(out), OSError), files.write_whole_folder(out, "export") as partial:
        for tower in towers:
            FORMATS[config.format](tower, partial / tower.name)
    for tower in towers:
        print(f"{out / tower.name}: {tower.name}")
    return out
