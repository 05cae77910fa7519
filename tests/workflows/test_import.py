"""``electra import``: what it writes, what it says, what it refuses; and the original's own checkpoint."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoModelForPreTraining

from checkpoints import draw_values, electra_shapes, write_checkpoint, write_vocabulary
from electra import cli
from electra.errors import UserError
from electra.interchange.huggingface import load_tower
from electra.interchange.initialise import initialise_towers, read_starts
from electra.objectives.build import CorpusFacts, Electra
from electra.tokenization.loading import load_tokenizer
from electra.workflows.export import ExportConfig, export
from electra.workflows.import_ import ImportConfig, import_checkpoint
from oracle import MASK


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small checkpoint and its vocabulary."""
    folder = tmp_path_factory.mktemp("checkpoint")
    write_vocabulary(folder)
    write_checkpoint(folder / "model.ckpt-8", draw_values(electra_shapes(), adam=True))
    return folder


def test_the_folder_is_what_other_verbs_go_on_from(checkpoint: Path, tmp_path: Path, capsys):
    out = tmp_path / "start"
    assert cli.main(["import", str(checkpoint), "--out", str(out), "--heads", "2"]) == 0
    said = capsys.readouterr().out.splitlines()
    shapes = len(electra_shapes())
    assert said == [
        f"{checkpoint / 'vocab.txt'}: 30 word pieces, uncased: none of them with an upper-case letter",
        f"{out / 'generator'}: 2 layers, 4 wide, 1 head of 4 (assumed; else say --generator-heads), embeddings of 8, "
        "shared with the discriminator",
        f"{out / 'discriminator'}: 2 layers, 16 wide, 2 heads of 8, embeddings of 8",
        f"left out: Adam's averages ({2 * shapes} variables)",
        "left out: the step (1 variable)",
    ]
    towers = {name: load_tower(out / name) for name in ("generator", "discriminator")}
    pretrainer = Electra(generator_width=0.25).build(towers["discriminator"].config, CorpusFacts(MASK), seed=1)
    assert len(initialise_towers(pretrainer.parts(), read_starts(out)).lines) == 2
    assert (out / "discriminator" / "vocab.txt").read_text() == (checkpoint / "vocab.txt").read_text()
    assert "`model.ckpt-8`" in (out / "generator" / "README.md").read_text()
    export(ExportConfig(run=str(out), out=str(tmp_path / "hub")))
    for name in towers:
        ours, theirs = (load_file(place / name / "model.safetensors") for place in (out, tmp_path / "hub"))
        assert ours.keys() == theirs.keys() and all(torch.equal(value, theirs[key]) for key, value in ours.items())
    with pytest.raises(UserError, match="holds something already; choose another --out"):
        import_checkpoint(ImportConfig(checkpoint=str(checkpoint), out=str(out)))


@pytest.mark.parametrize(
    ("last", "casing", "said", "pieces"),
    [
        ("end", "guess", "uncased: none of them with an upper-case letter", ["end"]),
        ("End", "guess", "cased: 1 of them with an upper-case letter", ["[UNK]"]),
        ("End", "uncased", "uncased: 1 of them with an upper-case letter", ["[UNK]"]),
        ("end", "cased", "cased: none of them with an upper-case letter", ["[UNK]"]),
    ],
)
def test_casing(checkpoint: Path, tmp_path: Path, capsys, last: str, casing, said: str, pieces: list[str]):
    vocabulary, out = write_vocabulary(tmp_path, last=last), tmp_path / "out"
    import_checkpoint(ImportConfig(str(checkpoint), str(out), str(vocabulary), casing))
    assert capsys.readouterr().out.splitlines()[0] == f"{vocabulary}: 30 word pieces, {said}"
    tokenizer = load_tokenizer(out / "discriminator")
    (ids,) = tokenizer.encode(["ÉND" if last == "end" else "end"])
    assert [tokenizer.backend.id_to_token(token_id) for token_id in ids] == pieces


def test_what_cannot_be_understood_is_refused(checkpoint: Path, tmp_path: Path):
    def refused(said: str, **settings: object) -> None:
        with pytest.raises(UserError, match=said) as error:
            import_checkpoint(ImportConfig(**{"checkpoint": str(checkpoint), "out": str(tmp_path / "out")} | settings))
        assert "\n" not in str(error.value) and not (tmp_path / "out").exists()

    refused("what and where", out="")
    refused("no TensorFlow checkpoint", checkpoint=str(tmp_path))
    refused(r"x\.txt: no such file; --vocab FILE names the vocabulary", vocab=str(tmp_path / "x.txt"))
    refused(
        r"vocab\.txt: 31 word pieces, but the checkpoint has rows for 30$",
        vocab=str(write_vocabulary(tmp_path / "m", 31)),
    )
    refused("electra is 16 wide, which cannot be cut into 3", heads=3)
    vocabulary = write_vocabulary(tmp_path / "beside")
    (tmp_path / "beside" / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    refused("uncased by --casing, but .*/tokenizer_config.json says otherwise", vocab=str(vocabulary), casing="uncased")
    refused("uncased by its word pieces, but .*/tokenizer_config.json says otherwise", vocab=str(vocabulary))


def test_a_vocabulary_that_is_shorter_than_the_table(checkpoint: Path, tmp_path: Path, capsys):
    vocabulary = write_vocabulary(tmp_path, 20)
    import_checkpoint(ImportConfig(str(checkpoint), str(tmp_path / "out"), str(vocabulary)))
    assert "; 10 rows of the table have none" in capsys.readouterr().out


@pytest.fixture(scope="module")
def original(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """The checkpoint that the original code made, imported, and what that code computed from it."""
    out = tmp_path_factory.mktemp("original") / "start"
    import_checkpoint(ImportConfig(str(shared / "oracle" / "tf_checkpoint"), str(out), heads=4))
    with np.load(shared / "oracle" / "tf_checkpoint_expected.npz") as npz:
        return out, {name: npz[name] for name in npz.files}


def test_the_originals_variables_bit_for_bit(original, shared: Path):
    from electra.interchange.tensorflow.bundle import find_checkpoint, open_checkpoint

    checkpoint = open_checkpoint(find_checkpoint(shared / "oracle" / "tf_checkpoint"))
    expected = {name.removeprefix("ckpt/"): value for name, value in original[1].items() if name.startswith("ckpt/")}
    assert checkpoint.variables.keys() == expected.keys() and len(expected) == 247
    for name, value in expected.items():
        found = checkpoint.read(name)
        assert (found.dtype, found.shape, found.tobytes()) == (value.dtype, value.shape, value.tobytes()), name


@torch.no_grad()
def test_the_originals_outputs(original):
    """By our towers, and by transformers' classes from the same folders."""
    out, npz = original
    tensor = {name: torch.from_numpy(value) for name, value in npz.items() if name.startswith(("in/", "out/"))}
    documents, segments = tensor["in/input_mask"].long(), tensor["in/segment_ids"].long()
    positions = torch.arange(documents.shape[1]).expand_as(documents)
    at = tensor["out/masked_lm_positions"].long()
    for name, auto, ids, expected in [
        ("generator", AutoModelForMaskedLM, "out/masked_input_ids", "out/mlm_logits"),
        ("discriminator", AutoModelForPreTraining, "out/corrupted_input_ids", "out/disc_logits"),
    ]:
        rows, tower = tensor[ids].long(), load_tower(out / name)
        states = tower.hidden(rows, positions, segments, documents)
        model = auto.from_pretrained(out / name, local_files_only=True, trust_remote_code=False).eval()
        theirs = model(rows, attention_mask=documents, token_type_ids=segments).logits
        if name == "generator":
            row = torch.arange(len(at))[:, None]
            found = tower.token_logits(states[row, at].flatten(0, 1)).view(*at.shape, -1)
            theirs, wanted = theirs[row, at], tensor[expected]
        else:
            found, theirs, wanted = (x * documents for x in (tower.detection_logits(states), theirs, tensor[expected]))
        scale = max(1.0, float(wanted.abs().max()))
        assert float((found - wanted).abs().max()) < 3.4e-6 * scale  # the original's own spread
        assert float((theirs - wanted).abs().max()) < 1e-5 * scale
