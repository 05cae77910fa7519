"""Runs that begin with what counting gives: which weights it sets, what that is worth at once, and that they resume."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from scipy.sparse import csr_array
from torch import nn

from compositions import EVERY, NAMES
from electra.dataset import neighbours
from electra.dataset.neighbours import count_neighbours, factorize_neighbours
from electra.dataset.shards import Shards
from electra.dataset.vocabulary import count_token_frequencies
from electra.model.heads import TokenHead
from electra.workflows.pretrain import create_pretrainers, open_data, pretrain, print_nothing
from electra.workflows.pretraining.counted import set_counted_weights
from processes import run_two
from runs import config


@pytest.mark.parametrize(("kind", "encoder"), EVERY, ids=NAMES)
def test_tables_and_biases_are_counted_and_nothing_else(prepared: Path, kind: str, encoder: str) -> None:
    asked = config(prepared, Path("unused"), kind, encoder)
    data, shards = open_data(asked), Shards.open(prepared, "train")
    pretrainer = create_pretrainers(asked, data, print_nothing)[0]
    fresh = {name: value.clone() for name, value in pretrainer.state_dict().items()}
    set_counted_weights(pretrainer, shards, 5)
    counted, vectors = 0, {}
    heads = {f"{name}.bias" for name, part in pretrainer.named_modules() if isinstance(part, TokenHead)}
    for name, value in pretrainer.named_parameters():
        if name in heads:
            frequencies, begun = count_token_frequencies(shards), value.detach().exp()
            assert math.isclose(float(begun.sum()), 1, abs_tol=1e-3)
            often = frequencies > 1e-3  # of others the edges of documents are a large part
            torch.testing.assert_close(begun[often], frequencies[often], rtol=0.25, atol=0)
            assert torch.equal(begun <= 1.01e-8, frequencies == 0)
        elif name.endswith("tokens.weight"):
            size, counted = value.shape[1], counted + 1
            if size not in vectors:
                vectors[size] = torch.from_numpy(factorize_neighbours(count_neighbours(shards), size, 5))
            known = vectors[size].norm(dim=1) > 0
            assert torch.equal(value[~known], fresh[name][~known]) and 0 < int((~known).sum()) < len(value) / 2
            similar = nn.functional.cosine_similarity(value[known], vectors[size][known])
            assert float(similar.detach().min()) > 0.9999
            squares = (
                float(each[rows].detach().square().mean()) for each, rows in ((value, known), (fresh[name], ...))
            )
            assert next(squares) == pytest.approx(next(squares), rel=1e-4), "rows as large as fresh ones"
        else:
            assert torch.equal(value, fresh[name]), name
    assert counted


def test_data_without_neighbours_changes_no_table(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = config(prepared, Path("unused"), "mlm", "modern")
    pretrainer = create_pretrainers(asked, open_data(asked), print_nothing)[0]
    fresh = {name: value.clone() for name, value in pretrainer.state_dict().items()}
    monkeypatch.setattr(neighbours, "count_neighbours", lambda shards: csr_array((1000, 1000)))
    set_counted_weights(pretrainer, Shards.open(prepared, "train"), 0)
    for name, value in pretrainer.named_parameters():
        same = torch.full_like(value, math.log(1e-8)) if name == "encoder.head.bias" else fresh[name]
        torch.testing.assert_close(value.detach(), same, msg=name)


def test_the_first_loss_is_that_of_knowing_how_frequent_tokens_are(prepared: Path, tmp_path: Path) -> None:
    losses = {}
    for name in ("fresh", "counted"):
        asked = config(prepared, tmp_path / name, "mlm", "modern", init_embeddings=name)
        pretrain(replace(asked, phases=(replace(asked.phases[0], rows=128),)))  # so many that their mean is certain
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        losses[name] = next(line["generator/loss"] for line in lines if line["split"] == "train")
    frequencies = count_token_frequencies(Shards.open(prepared, "train"))
    entropy = float(-(frequencies * frequencies.clamp(min=1e-9).log()).sum())
    assert losses["fresh"] == pytest.approx(math.log(1000), abs=0.1)
    assert losses["counted"] == pytest.approx(entropy, abs=0.3) and entropy < 6


def test_a_run_of_two_stages_resumes_and_two_processes_begin_alike(prepared: Path, tmp_path: Path) -> None:
    whole = config(prepared, tmp_path / "whole", "warmed-electra", "modern", init_embeddings="counted", seed=2)
    whole = replace(whole, engine=replace(whole.engine, save_every=1))
    pretrain(whole)
    broken = replace(whole, out=str(tmp_path / "broken"))
    pretrain(replace(broken, stop_after="0.001s"))
    assert not (tmp_path / "broken" / "final").exists()
    pretrain(broken)
    weights = {
        name: load_file(tmp_path / name / "final/discriminator/model.safetensors") for name in ("whole", "broken")
    }
    assert weights["whole"].keys() == weights["broken"].keys()
    assert all(torch.equal(value, weights["broken"][name]) for name, value in weights["whole"].items())
    # The first process alone counts: the other could not.
    code = f"""
import os
from electra.dataset.layout import *
from electra.engine.optim import *
from electra.engine.train import Engine
from electra.model.config import ModernConfig
from electra.objectives.build import *
from electra.workflows.pretrain import *
from electra.workflows.pretraining import counted
from electra.workflows.pretraining.config import *
if os.environ["RANK"] != "0":
    counted.set_counted_weights = None
pretrain({replace(whole, out=str(tmp_path / "two"))!r})
"""
    run_two(code)
    two = load_file(tmp_path / "two" / "final" / "discriminator" / "model.safetensors")
    for name, value in weights["whole"].items():
        torch.testing.assert_close(value, two[name], rtol=0, atol=2e-4)
