"""A tower compiles, layer by layer, forward and backward, and computes what it did before."""

from dataclasses import replace

import pytest
import torch

from electra.engine import compiling
from electra.model.embeddings import OwnEmbeddings
from electra.model.encoder import ClassicConfig, ModernConfig, Tower

CONFIGS = {
    "classic": ClassicConfig(
        vocab_size=200, hidden_size=32, layers=3, heads=2, intermediate_size=48, embedding_size=16
    ),
    "modern": ModernConfig(
        vocab_size=200, hidden_size=32, layers=5, heads=2, intermediate_size=48, local_window=16, dropout=0.1,
        attention_dropout=0.1,
    ),
}  # fmt: skip


@pytest.mark.compiled
@pytest.mark.parametrize("kind", CONFIGS)
def test_a_compiled_tower_computes_what_it_did(kind):
    torch.manual_seed(0)
    tower = Tower.detection(CONFIGS[kind], OwnEmbeddings(CONFIGS[kind]).discriminator)
    ids = torch.randint(0, 200, (4, 32))
    positions, documents = torch.arange(32).expand_as(ids), torch.ones_like(ids)
    keys = torch.arange(4, dtype=torch.int32)

    def loss(ids, positions, documents, keys):
        hidden = tower.hidden(ids, positions, torch.zeros_like(ids), documents, keys)
        return tower.detection_logits(hidden).square().sum()

    compiling.prepare_parts(tower, "", compiled=True)
    gradients = []
    for function in (loss, compiling.compile_if_possible(loss, "auto", torch.device("cpu"))):
        tower.zero_grad()
        value = function(ids, positions, documents, keys)
        value.backward()
        gradients.append([value.detach()] + [p.grad.clone() for p in tower.parameters()])
    for eager, compiled in zip(*gradients, strict=True):
        assert torch.allclose(eager, compiled, rtol=1e-4, atol=1e-4 * float(eager.abs().max()))


@pytest.mark.compiled
def test_layers_that_are_alike_are_compiled_once():
    from torch._dynamo.utils import counters

    graphs = []
    for layers in (2, 6):
        torch._dynamo.reset()
        counters.clear()
        config = replace(CONFIGS["classic"], layers=layers)
        tower = Tower.detection(config, OwnEmbeddings(config).discriminator)
        compiling.prepare_parts(tower, "", compiled=True)
        ids = torch.ones(2, 16, dtype=torch.int64)
        torch.compile(tower.hidden, dynamic=False, backend="aot_eager")(
            ids, ids, ids, ids, torch.arange(2, dtype=torch.int32)
        ).sum().backward()
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[0] == graphs[1] > 1
