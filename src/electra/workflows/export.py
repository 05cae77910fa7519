"""``electra export``: a run's towers as folders that other tools load."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from electra import files
from electra.errors import UserError, convert_errors
from electra.interchange import huggingface


@dataclass(frozen=True)
class ExportConfig:
    """Write a run's towers as folders with weights, tokenizer, vocab.txt and a model card."""

    run: str = ""
    """Run folder, or any folder with discriminator/ and generator/."""
    out: str = ""
    """Folder to write discriminator/ and generator/ into."""
    format: Literal["hf"] = "hf"
    """hf: what Hugging Face's AutoModel and AutoTokenizer load."""


def export(config: ExportConfig) -> Path:
    """The folder written, whole or not at all. Raises ``UserError`` for a run that is not finished or a folder that
    holds something."""
    if not config.run or not config.out:
        raise UserError("what and where? electra export RUN --out FOLDER")
    run, out = Path(config.run), Path(config.out)
    final = run / "final" if (run / "final").is_dir() else run
    parts = [final / name for name in ("discriminator", "encoder", "generator") if (final / name).is_dir()]
    if not parts:
        raise UserError(
            f"{run}: no final/ with towers here; is the run finished? `electra pretrain --out {run}` goes on"
        )
    taken = [out / part.name for part in parts if (out / part.name).exists()]
    if taken:
        raise UserError(f"{taken[0]}: is there already; choose another --out")
    if not files.is_vacant(out):
        raise UserError(f"{out}: holds something already; choose another --out")
    with convert_errors(str(out), OSError), files.write_whole_folder(out, "export") as folder:
        for part in parts:
            tower, readme = huggingface.load_tower(part), part / "README.md"
            card, objective = readme.read_text() if readme.exists() else None, huggingface.read_objective(part)
            huggingface.save_tower(folder / part.name, tower, part, card, objective)
    for part in parts:
        print(f"{out / part.name}: {part.name}")
    return out
