"""The demo's folders for Hugging Face, and whether transformers computes from them what we compute."""

import json
import subprocess
import sys
from pathlib import Path

from electra import files
from electra.engine.parallel import Parallel
from electra.interchange import huggingface
from electra.interchange.folders import TOWERS, fingerprint_encoder
from electra.tokenization.loading import load_tokenizer
from electra.workflows.export import ExportConfig, export
from electra.workflows.inspect import score_word_pieces

# A program of its own: folder and text in, P(replaced) of each token out. It must also load the others.
LOAD_WITH_AUTO_CLASSES = """
import json, sys
from transformers import AutoModelForMaskedLM, AutoModelForTokenClassification, AutoTokenizer, logging
logging.set_verbosity_error()
folder, text = sys.argv[1:]
ours = {"trust_remote_code": False}
tokenizer = AutoTokenizer.from_pretrained(folder + "/discriminator", **ours)
rows = tokenizer(text, return_tensors="pt")
logits = AutoModelForTokenClassification.from_pretrained(folder + "/discriminator", **ours)(**rows).logits[0, 1:-1]
for name in ("encoder", "generator"):
    AutoModelForMaskedLM.from_pretrained(f"{folder}/{name}", **ours)(**rows)
print(json.dumps((logits[:, 1] - logits[:, 0]).sigmoid().tolist()))
"""


def export_towers(run: Path, hub: Path) -> None:
    """Export the towers of ``run`` to ``hub``, unless they are there."""
    if not all((hub / name).is_dir() and is_same_model(run / "final" / name, hub / name) for name in TOWERS):
        files.remove_folder(hub, "export")
        export(ExportConfig(run=str(run), out=str(hub)))


def is_same_model(folder: Path, other: Path) -> bool:
    """Whether two folders hold the same weights, config and tokenizer."""
    return fingerprint_encoder(folder) == fingerprint_encoder(other)


def compare_with_transformers(hub: Path, text: str) -> None:
    """Let transformers load the folders in a fresh process, and compare its probabilities for ``text`` with ours.

    Raises:
        AssertionError: they differ by 1e-4 or more.
        subprocess.CalledProcessError: transformers cannot load the folders; its error is on stderr.
    """
    command = [sys.executable, "-c", LOAD_WITH_AUTO_CLASSES, str(hub), text]
    theirs = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    folder = hub / "discriminator"
    ours = score_word_pieces(huggingface.load_tower(folder), load_tokenizer(folder), text, Parallel.local_device())
    distance = max(abs(piece.replaced - other) for piece, other in zip(ours, theirs, strict=True))
    assert distance < 1e-4, f"transformers reads {hub} otherwise: probabilities differ by {distance:.1e}"
    print(f"AutoTokenizer and AutoModel load {hub}; probabilities differ from ours by at most {distance:.1e}")
