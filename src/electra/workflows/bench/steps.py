"""What ``electra bench`` measures with and against: random rows, and the step written with transformers' classes."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from electra.dataset.batches import Batch
from electra.dataset.layout import SHORTEST_PIECE
from electra.dataset.rows import Place
from electra.engine.parallel import Precision, autocast
from electra.engine.stages import Stage
from electra.objectives.build import Electra
from electra.objectives.corrupt import Generate
from electra.objectives.pretrainer import Pretrainer, derive_row_keys
from electra.objectives.view import View
from electra.workflows.pretraining.config import PretrainConfig

PAD, CLS, SEP, MASK, FIRST_WORD = range(5)
SHORT_SHARE = 0.1  # share of the rows that end early, so that there is padding


class RandomRows:
    """A source of rows [CLS] A [SEP] B [SEP] of random tokens, some of them short: the paper's layout."""

    start = Place()

    def __init__(self, vocab_size: int, length: int):
        self.vocab_size, self.length = vocab_size, length

    def take(self, place: Place, rows: int) -> tuple[list[int], Place]:
        """The numbers of the next rows, and the place after them."""
        return list(range(place.row, place.row + rows)), replace(place, row=place.row + rows)

    def batch(self, refs: Sequence[int]) -> Batch:
        """The rows of a step as tensors; the first row's number seeds them, so that a step always reads the same."""
        generator, rows, positions = np.random.default_rng(refs[0]), len(refs), np.arange(self.length)
        short = generator.random(rows) < SHORT_SHARE
        end = np.where(short, generator.integers(SHORTEST_PIECE, self.length + 1, rows), self.length)[:, None]
        inside, middle = positions < end, end // 2
        ids = generator.integers(FIRST_WORD, self.vocab_size, (rows, self.length))
        ids[:, 0], ids[(positions == middle) | (positions == end - 1)], ids[~inside] = CLS, SEP, PAD
        segments = inside & (positions > middle)
        address = np.array([(0, 0, number) for number in refs], dtype=np.int32)
        arrays = ids, positions * inside, segments.astype(int), inside.astype(int), ids >= FIRST_WORD, address
        return Batch(*map(torch.from_numpy, arrays))


class TransformersStep(nn.Module):
    """The step as one writes it with ElectraForMaskedLM and ElectraForPreTraining, which compute their own losses.

    The first class computes logits at every position. The towers begin with our weights and share their embeddings;
    ``eval`` turns dropout off.
    """

    def __init__(self, pretrainer: Pretrainer, recipe: PretrainConfig, stage: Stage, device: torch.device):
        from transformers import ElectraForMaskedLM, ElectraForPreTraining

        from electra.interchange.huggingface import export_tensors
        from electra.interchange.huggingface_names import TIED, transformers_config

        super().__init__()
        assert isinstance(pretrainer.corrupt, Generate) and isinstance(recipe.objective, Electra)
        self.mask, self.objective = pretrainer.corrupt.mask, recipe.objective
        self.recipe, self.stage, self.place = recipe, stage, stage.source.start
        small, large = pretrainer.parts().values()
        self.generator = ElectraForMaskedLM(transformers_config(small))
        self.discriminator = ElectraForPreTraining(transformers_config(large))
        tensors = export_tensors(small)
        tied = {output: tensors[tokens] for output, tokens in TIED.items() if tokens in tensors}
        self.generator.load_state_dict(tensors | tied)
        self.discriminator.load_state_dict(export_tensors(large))
        self.generator.electra.embeddings = self.discriminator.electra.embeddings
        self.generator.tie_weights()
        self.to(device).train()
        self.compiled_loss = torch.compile(self.loss)
        self.optimizer = torch.optim.AdamW(self.parameters(), lr=1e-7, fused=True)  # no rate is faster than another

    def loss(self, masked: View, samples: Tensor | None = None) -> Tensor:
        """The weighted loss of a masked view; ``samples`` int64 [rows, slots] are drawn from the generator if None."""
        text, chosen, valid = masked.original, masked.chosen, masked.valid
        inputs = {"attention_mask": (masked.batch.documents > 0).long(), "token_type_ids": masked.batch.segments}
        targets = text.gather(1, chosen)
        labels = torch.full_like(text, -100).scatter(1, chosen, torch.where(valid, targets, -100))
        recovered = self.generator(input_ids=masked.ids, labels=labels, **inputs)
        if samples is None:
            logits = recovered.logits.detach()[torch.arange(len(text), device=text.device)[:, None], chosen].float()
            samples = (logits - torch.rand_like(logits).log_().neg_().log_()).argmax(2)  # Gumbel noise
        filled = text.scatter(1, chosen, torch.where(valid, samples, targets))
        detected = self.discriminator(input_ids=filled, labels=(filled != text).long(), **inputs)
        return self.objective.generator_weight * recovered.loss + self.objective.detection_weight * detected.loss

    def step(self, precision: Precision, compiled: bool = False) -> None:
        """Move the parameters once, by the gradients of the rows and masked positions of our step."""
        refs, self.place = self.stage.source.take(self.place, self.stage.rows)
        device = self.generator.device
        batch = self.stage.source.batch(refs).to(device)
        masked, _ = self.mask(batch, derive_row_keys(self.recipe.seed, batch), True)
        with autocast(precision, device):
            loss = (self.compiled_loss if compiled else self.loss)(masked)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters(), self.recipe.engine.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
