"""What holds for both kinds of encoder: documents do not see each other, dropout has an address, sizes are checked."""

from dataclasses import replace

import pytest
import torch

from electra.errors import UserError
from electra.model.embeddings import OwnEmbeddings, SharedEmbeddings
from electra.model.encoder import ClassicConfig, ModernConfig, Tower, generator_config

CLASSIC = ClassicConfig(
    vocab_size=200, hidden_size=32, layers=3, heads=2, intermediate_size=48, embedding_size=16, max_positions=64
)
MODERN = ModernConfig(vocab_size=200, hidden_size=32, layers=4, heads=2, intermediate_size=48, local_window=6)
BOTH = pytest.mark.parametrize("config", [CLASSIC, MODERN], ids=["classic", "modern"])


def tower(config):
    torch.manual_seed(0)
    return Tower.detection(config, OwnEmbeddings(config).discriminator)


def pieces(config, lengths):
    """One packed row: ids, positions that start anew, segments, numbers of documents, and padding at the end."""
    total = sum(lengths) + 3
    ids = torch.randint(5, config.vocab_size, (1, total))
    positions, documents = torch.zeros(1, total).long(), torch.zeros(1, total).long()
    segments, start = torch.zeros(1, total).long(), 0
    for number, length in enumerate(lengths, 1):
        piece = slice(start, start + length)
        positions[0, piece], documents[0, piece] = torch.arange(length), number
        segments[0, piece] = (torch.arange(length) >= length // 2).long()
        start += length
    return ids, positions, segments, documents


@BOTH
@torch.no_grad()
def test_a_packed_row_computes_what_its_documents_do_alone(config):
    part, lengths = tower(config), [7, 19, 1, 12]
    row = pieces(config, lengths)
    together = part.hidden(*row)
    start = 0
    for length in lengths:
        piece = slice(start, start + length)
        ids, positions, segments, documents = (value[:, piece] for value in row)
        alone = part.hidden(ids, positions, segments, torch.ones_like(documents))
        assert torch.allclose(together[:, piece], alone, atol=1e-5)
        start += length
    changed_ids = row[0].clone()
    changed_ids[0, lengths[0]] = (changed_ids[0, lengths[0]] + 1) % config.vocab_size
    changed = part.hidden(changed_ids, *row[1:]) != together
    touched = changed.any(2)[0].nonzero().flatten().tolist()
    assert touched
    assert set(touched) <= set(range(lengths[0], lengths[0] + lengths[1]))


@BOTH
@torch.no_grad()
def test_padding_changes_nothing(config):
    part = tower(config)
    row = pieces(config, [20])
    changed_ids = row[0].clone()
    changed_ids[0, 20:] = 3
    assert torch.equal(part.hidden(*row)[:, :20], part.hidden(changed_ids, *row[1:])[:, :20])


@BOTH
@torch.no_grad()
def test_dropout_is_a_function_of_a_rows_key(config):
    part = tower(replace(config, dropout=0.2, attention_dropout=0.2))
    rows = [torch.cat([value] * 3) for value in pieces(config, [20])]
    keys = torch.tensor([5, 6, 5], dtype=torch.int32)
    states = part.hidden(*rows, keys)
    assert torch.equal(states, part.hidden(*rows, keys))
    assert torch.equal(states[0], states[2])
    assert not torch.allclose(states[0], states[1])
    alone = part.hidden(*(value[:1] for value in rows), keys[1:2])
    assert torch.allclose(alone[0], states[1], atol=1e-5)
    assert torch.equal(part.hidden(*rows)[0], part.eval().hidden(*rows)[1])


@BOTH
@torch.no_grad()
def test_no_two_places_of_dropout_share_their_numbers(config, monkeypatch):
    from electra.kernels.random import derive_streams, make_key
    from electra.model import blocks, embeddings

    keys, sites, streams = torch.tensor([make_key(7)], dtype=torch.int32), [], []
    monkeypatch.setattr(embeddings, "dropout", lambda x, keys, site, p: sites.append(site) or x)
    monkeypatch.setattr(blocks, "drop", lambda x, stream, p: streams.append(stream) or x)
    attend = blocks.attention
    monkeypatch.setattr(
        blocks, "attention", lambda *arguments: streams.append(arguments[5]) or attend(*arguments[:5], None, 0.0)
    )
    tower(config).hidden(*pieces(config, [20]), keys)
    streams += derive_streams(keys, torch.tensor(sites, dtype=torch.int32)).unbind(0)
    assert len(streams) == len({tuple(stream.flatten().tolist()) for stream in streams}) == 1 + 3 * config.layers


@BOTH
@torch.no_grad()
def test_the_last_of_all_layers_is_the_result(config):
    part = tower(config)
    ids, positions, segments, documents = pieces(config, [20])
    embedded = part.embeddings(ids, positions, segments, None)
    layers = part.encoder(embedded, positions, documents, None)
    assert len(layers) == config.layers
    assert torch.equal(layers[-1], part.hidden(ids, positions, segments, documents))


def test_embeddings_are_shared_or_own():
    shared, own = SharedEmbeddings(CLASSIC), OwnEmbeddings(CLASSIC)
    assert shared.generator is shared.discriminator
    assert own.generator is not own.discriminator
    assert len(list(own.parameters())) == 2 * len(list(shared.parameters()))


def test_a_generator_is_a_fraction_of_its_encoder():
    base = ClassicConfig(hidden_size=768, heads=12, intermediate_size=3072, embedding_size=768)
    small = generator_config(base, 1 / 3, 1.0)
    assert (small.hidden_size, small.heads, small.intermediate_size) == (256, 4, 1024)  # ELECTRA, table 6
    assert (small.layers, small.embedding_size) == (12, 768)
    quarter = generator_config(ClassicConfig(), 0.25, 0.5)
    assert (quarter.hidden_size, quarter.heads, quarter.intermediate_size, quarter.layers) == (64, 1, 256, 6)
    assert generator_config(ClassicConfig(), 1.0, 1.0) == ClassicConfig()
    assert generator_config(MODERN, 1.0, 0.5) == replace(MODERN, layers=2)
    half = generator_config(MODERN, 0.5, 1.0)
    assert (half.hidden_size, half.embedding_size) == (MODERN.hidden_size // 2, MODERN.hidden_size // 2)
    assert OwnEmbeddings(MODERN, half).generator.tokens.weight.shape[1] == MODERN.hidden_size // 2
    with pytest.raises(UserError, match="cannot share embeddings"):
        SharedEmbeddings(MODERN, half)
    with pytest.raises(UserError, match="leaves nothing"):
        generator_config(CLASSIC, 0.001, 1.0)


@pytest.mark.parametrize("kind", [ClassicConfig, ModernConfig])
def test_heads_of_unequal_size_are_refused(kind):
    with pytest.raises(UserError, match="hidden_size 100 cannot be cut into 3 equal heads"):
        kind(hidden_size=100, heads=3)


@BOTH
@pytest.mark.parametrize("length", [20, 300])  # the explicit product's dropout, and the fused kernel's
def test_a_recomputed_layer_gives_the_same_gradients_and_keeps_less(config, length):
    part = tower(replace(config, max_positions=512, attention_dropout=0.2))
    row, keys, gradients, kept = pieces(config, [length]), torch.ones(1, dtype=torch.int32), [], []
    for recomputes in (False, True):
        part.encoder.recomputes = recomputes
        part.zero_grad()
        torch.manual_seed(1)
        kept.append(0)

        def keep(value):
            kept[-1] += value.numel()
            return value

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
            states = part.hidden(*row, keys)
        states.square().sum().backward()
        gradients.append({name: p.grad.clone() for name, p in part.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() > {"encoder.layers.0.qkv.weight"}
    assert all(torch.equal(value, gradients[1][name]) for name, value in gradients[0].items())
    assert kept[1] < kept[0] / 3
