"""``electra export --format sentence-transformers``: an encoder of sentences, with all its layers or those that suit
pairs of texts with scores best."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from electra.engine.parallel import Parallel, flush_denormals, start_threads
from electra.errors import UserError
from electra.interchange.huggingface import CARD_FILE
from electra.interchange.huggingface_export import write_encoder
from electra.interchange.sentence_transformers import Pooling, describe_vectors, write_modules
from electra.interchange.transformers_models import load_config
from electra.interchange.views import ModelView
from electra.tasks.datasets.labelled import Columns
from electra.tasks.frozen.depth import measure_depths, read_scored_pairs
from electra.tokenization.settings import read_settings


@dataclass(frozen=True)
class SentenceTransformersConfig:
    """How a text's vector is made of its tokens' states, and by what the number of layers is chosen."""

    pooling: Pooling = "mean"
    """mean: of the states of the text's tokens. cls: the state of the first, [CLS]."""
    probe_data: str = ""
    """Choose how many layers are kept, the lowest, by pairs of texts with scores in a .csv, .tsv, .jsonl or .parquet
    file, such as STS-B's dev.tsv: so many that the cosines are ranked most like the scores. Empty: --keep-layers."""
    columns: Columns = field(default_factory=lambda: Columns("sentence1", "sentence2", "score"))
    """Where texts and scores stand in that file."""


def choose_depths(
    views: dict[str, ModelView], settings: SentenceTransformersConfig
) -> tuple[dict[str, ModelView], list[str]]:
    """The models, each with as many of its layers, the lowest, as do best on ``settings.probe_data``, and lines that
    say so; as they are, if there is no such file.

    Raises:
        UserError: layers that are given already, or as ``read_scored_pairs`` and ``measure_depths``.
    """
    if not settings.probe_data:
        return views, []
    task = read_scored_pairs(Path(settings.probe_data), settings.columns)
    chosen, lines = dict[str, ModelView](), [f"{len(task.splits['dev']):,} scored pairs of {task.name}, Spearman:"]
    start_threads()
    for name, what in views.items():
        if what.keep_layers:
            raise UserError("--keep-layers and --sentence-transformers.probe-data: the layers are told, or chosen")
        with flush_denormals():
            measured = measure_depths(what.folder, task, settings.pooling, Parallel.local_device())
        best = max(measured, key=measured.__getitem__)
        chosen[name] = replace(what, keep_layers=best if best < len(measured) else 0)
        lines += [f"{depth} layers: {value:.4f}" + ", the best" * (depth == best) for depth, value in measured.items()]
    return chosen, lines


def fill_sentences_folder(what: ModelView, folder: Path, settings: SentenceTransformersConfig) -> list[str]:
    """Write what ``SentenceTransformer(folder)`` loads into ``folder``; returns how many layers were kept.

    Raises:
        UserError: as ``write_encoder`` and ``load_config``; or another view than the encoder.
    """
    if what.view != "encoder":
        raise UserError(f"as {what.view}: sentence-transformers reads an encoder alone; say --as encoder")
    write_encoder(what, folder)
    config, longest = load_config(folder), read_settings(folder / "tokenizer_config.json")["model_max_length"]
    write_modules(folder, config.hidden_size, longest, settings.pooling)
    kept, layers = config.num_hidden_layers, load_config(what.folder).num_hidden_layers
    (folder / CARD_FILE).write_text(describe_vectors(settings.pooling, kept, layers), encoding="utf-8")
    told = what.keep_layers or settings.probe_data
    advice = "" if told else "; --sentence-transformers.probe-data FILE chooses how many"
    return [f"layers: {kept} of {layers}{advice}"]
