"""The lowest layers of an encoder alone: read, fine-tuned and exported, as transformers computes them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers

from electra.errors import UserError
from electra.interchange import encoders, huggingface
from electra.interchange.encoders import Inputs
from electra.workflows.export import ExportConfig, export
from electra.workflows.finetune import finetune
from finetuning import CLASSIC, MODERN, TUNING, config, exported, sentences

IDS = torch.randint(5, 100, (3, 20), generator=torch.Generator().manual_seed(0))
INPUTS = Inputs(IDS, torch.arange(20).expand(3, 20), 0 * IDS, torch.ones_like(IDS))


@pytest.mark.parametrize("kind", ["classic", "modern", "bert"])
def test_the_kept_layers_compute_what_they_did(kind: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(kind)
    whole, _ = encoders.load_encoder(folder)
    kept, _ = encoders.load_encoder(folder, keep_layers=1)
    assert len(whole.sizes) == 3 and kept.sizes == whole.sizes[:2]
    expected = whole.hidden_states(INPUTS, None)[1]
    if kind == "modern":  # the norm that followed the last layer follows the kept one
        expected = whole.encoder.norm(expected)
    torch.testing.assert_close(kept.hidden_states(INPUTS, None)[1], expected)
    with pytest.raises(UserError, match="keep_layers 3: the encoder has 2 layers"):
        encoders.load_encoder(folder, keep_layers=3)


@pytest.mark.parametrize("head", ["paper", "transformers"])
@pytest.mark.parametrize("kind", ["classic", "modern", "bert"])
def test_a_shorter_encoder_is_fine_tuned_and_loads_as_such(
    kind: str, head: str, tmp_path: Path, files: dict, request: pytest.FixtureRequest
) -> None:
    tuning = replace(TUNING, head=head, epochs=2)
    asked = config(request.getfixturevalue(kind), tmp_path, files, tuning=tuning, keep_layers=1)
    finetune(asked)
    folder = tmp_path / "train" / "seed-1"
    model = folder / "model"
    assert transformers.AutoConfig.from_pretrained(model).num_hidden_layers == 1
    reader, _ = encoders.load_encoder(model)
    assert len(reader.sizes) == 2
    if head == "transformers":
        ours = json.loads((folder / "predictions.json").read_text())["dev"]
        pipe = transformers.pipeline("text-classification", str(model), device="cpu")
        assert ours == [each["label"] for each in pipe([text for text, _ in sentences(60, 2)])]
    with pytest.raises(UserError, match="other settings"):
        finetune(replace(asked, keep_layers=2))
    with pytest.raises(UserError, match="keep_layers 9: the encoder has 2 layers"):
        finetune(replace(asked, out=str(tmp_path / "more"), keep_layers=9))


@pytest.mark.parametrize("shape", [CLASSIC, MODERN], ids=["classic", "modern"])
def test_an_export_of_the_lowest_layers_is_of_the_encoder_alone(shape, tmp_path: Path, tokens: Path) -> None:
    run = tmp_path / "run"
    for name in ("encoder", "discriminator"):
        exported(run / name, shape, tokens)
    out = export(ExportConfig(run=str(run), out=str(tmp_path / "hub"), keep_layers=1))
    assert [path.name for path in out.iterdir() if path.is_dir()] == ["encoder"]
    assert "The lowest 1 of 2 layers." in (out / "encoder" / "README.md").read_text()
    theirs, report = transformers.AutoModel.from_pretrained(out / "encoder", output_loading_info=True)
    assert not report["missing_keys"] and theirs.config.num_hidden_layers == 1
    tower = huggingface.load_tower(run / "encoder")
    tower.keep_layers(1)
    with torch.no_grad():
        states = theirs.eval()(IDS).last_hidden_state
    torch.testing.assert_close(tower.hidden(*INPUTS), states, rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match="keep_layers 3: the encoder has 2 layers"):
        export(ExportConfig(run=str(run), out=str(tmp_path / "more"), keep_layers=3))
    assert not (tmp_path / "more").exists()
