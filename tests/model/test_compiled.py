"""A tower compiles into one graph, forward and backward, and computes what it did before."""

import pytest
import torch

from electra.model.embeddings import Own
from electra.model.encoder import ClassicConfig, ModernConfig, Tower

CONFIGS = {
    "classic": ClassicConfig(
        vocab_size=200, hidden_size=32, layers=2, heads=2, intermediate_size=48, embedding_size=16
    ),
    "modern": ModernConfig(
        vocab_size=200, hidden_size=32, layers=2, heads=2, intermediate_size=48, local_window=16, dropout=0.1,
        attention_dropout=0.1,
    ),
}  # fmt: skip


@pytest.mark.compiled
@pytest.mark.parametrize("kind", CONFIGS)
def test_a_tower_compiles_whole(kind):
    torch.manual_seed(0)
    tower = Tower.detection(CONFIGS[kind], Own(CONFIGS[kind]).discriminator)
    ids = torch.randint(0, 200, (4, 32))
    positions, documents = torch.arange(32).expand_as(ids), torch.ones_like(ids)
    keys = torch.arange(4, dtype=torch.int32)

    def loss(ids, positions, documents, keys):
        hidden = tower.hidden(ids, positions, torch.zeros_like(ids), documents, keys)
        return tower.detection_logits(hidden).square().sum()

    gradients = []
    for function in (loss, torch.compile(loss, fullgraph=True, dynamic=False)):
        tower.zero_grad()
        value = function(ids, positions, documents, keys)
        value.backward()
        gradients.append([value.detach()] + [p.grad.clone() for p in tower.parameters()])
    for eager, compiled in zip(*gradients, strict=True):
        assert torch.allclose(eager, compiled, rtol=1e-4, atol=1e-4 * float(eager.abs().max()))
