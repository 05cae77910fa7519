"""Rows of equal length through a model, without padding."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from electra.interchange.encoders import Inputs, WholeModelReader
from electra.model.encoder import Tower


def sentence_limit(model: Tower | WholeModelReader) -> int:
    """How many tokens of a sentence a model reads, [CLS] and [SEP] not counted."""
    return (model.config.max_positions if isinstance(model, Tower) else model.longest) - 2


def predict_at(
    model: Tower | WholeModelReader, rows: Int[Tensor, "rows length"], positions: Int[Tensor, " rows"]
) -> Float[Tensor, "rows vocab"]:
    """Float32 logits at one position of each row."""
    if isinstance(model, Tower):
        states = last_states(model, rows)
        return model.token_logits(pick_per_row(states, positions))
    (logits,) = model.hidden_states(unpadded_inputs(model, rows), None)
    return pick_per_row(logits, positions).float()


def pick_per_row(
    values: Float[Tensor, "rows length size"], positions: Int[Tensor, " rows"]
) -> Float[Tensor, "rows size"]:
    """The values at one position of each row."""
    return values[torch.arange(len(values), device=values.device), positions.to(values.device)]


def last_states(tower: Tower, rows: Int[Tensor, "rows length"]) -> Float[Tensor, "rows length hidden"]:
    """The tower's last hidden states of rows without padding."""
    return tower.hidden(*unpadded_inputs(tower, rows))


def unpadded_inputs(model: Tower | WholeModelReader, rows: Int[Tensor, "rows length"]) -> Inputs:
    """Rows without padding as inputs of the model, on its device."""
    ids = rows.to(next(model.parameters()).device)
    positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    return Inputs(ids, positions, torch.zeros_like(ids), torch.ones_like(ids))
