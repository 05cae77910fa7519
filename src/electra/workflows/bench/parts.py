"""Where a step's time goes: its parts, each by itself, forward and backward.

The input of a part is made before it is timed. Where the step is compiled, each part is compiled too, but not fused
with its neighbours: so the parts do not add up to the step exactly.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from electra.dataset.batches import Batch
from electra.engine.compiling import compile_if_possible
from electra.engine.parallel import autocast
from electra.engine.train import Loop
from electra.kernels.vocabulary.twin import WrittenLogits, sample_tokens
from electra.model.encoder import Tower
from electra.objectives.corrupt import Generate
from electra.objectives.generators import GeneratorOutput, MaskedGenerator
from electra.objectives.pretrainer import Pretrainer, derive_row_keys
from electra.objectives.terms import Term
from electra.objectives.view import ENCODER, END, GENERATOR, View, gather_positions, read_view
from electra.progress import print_progress
from electra.workflows.bench.machine import median_seconds

Part = Callable[[], Tensor]

WARM_UP_CALLS = 3  # calls of a part that are not measured, before those that are


def time_parts(loop: Loop, times: int) -> dict[str, float]:
    """Seconds of each part of the loop's step, medians of ``times``; the loop has made a step before."""
    stage, device, engine = loop.stages[0], loop.parallel.device, loop.engine
    (batch, *_), _ = loop.batches(stage, stage.source.start)
    seconds = {"data": median_seconds(lambda: loop.batches(stage, stage.source.start), times, WARM_UP_CALLS)}
    for name, part in split_step(loop.module, batch):
        print_progress(f"{name} by itself")
        compiled = compile_if_possible(part, engine.compile, device)

        def forward_and_backward(part: Part = compiled) -> None:
            with autocast(engine.precision, device):
                result = part()
            if result.requires_grad:
                torch.autograd.backward(result, torch.ones_like(result))

        seconds[name] = median_seconds(forward_and_backward, times, WARM_UP_CALLS)
    return seconds | {"optimizer": time_optimizer(loop, times)}


def time_optimizer(loop: Loop, times: int) -> float:
    """Seconds to measure the gradients' norms, clip the gradients and move the parameters.

    All gradients and the rate are 0, so that no parameter changes.
    """
    gradients = [(p.value, torch.zeros_like(p.value)) for p in loop.stages[0].parameters if p.value.requires_grad]

    def move_parameters() -> None:
        for value, gradient in gradients:
            value.grad = gradient
        loop.optimizer.clip(loop.engine.clip, loop.optimizer.measure_gradients().norms)
        loop.optimizer.step(0.0)

    return median_seconds(move_parameters, times, WARM_UP_CALLS)


def split_step(pretrainer: Pretrainer, batch: Batch) -> Iterator[tuple[str, Part]]:
    """The parts between data and optimizer, in the order of the step, each with its name."""
    keys, corrupt, encoder = derive_row_keys(pretrainer.seed, batch), pretrainer.corrupt, pretrainer.encoder
    mask = corrupt.mask if isinstance(corrupt, Generate) else corrupt
    yield "masking", lambda: mask(batch, keys, True)[0].ids
    view, _ = mask(batch, keys, True)
    if isinstance(corrupt, Generate):
        yield from split_corruption(corrupt, view, batch, keys)
        with torch.no_grad():
            view, _ = corrupt(batch, keys, True)
    yield pretrainer.kept, lambda: read_view(encoder, view, ENCODER)
    hidden = detach_states(read_view(encoder, view, ENCODER))
    for name, term in pretrainer.terms.items():
        yield f"{name}'s loss", partial(sum_term, term, encoder, hidden, view)


def sum_term(term: Term, encoder: Tower, hidden: Tensor, view: View) -> Tensor:
    """A term's summed loss."""
    return term(encoder, hidden, view).total


def split_corruption(corrupt: Generate, masked: View, batch: Batch, keys: Tensor) -> Iterator[tuple[str, Part]]:
    """The parts of a masked language model as generator; any other generator is one part."""
    generator = corrupt.generator
    if not isinstance(generator, MaskedGenerator):
        yield "generator", lambda: corrupt(batch, keys, True)[1]["generator"].total
        return
    tower = generator.tower
    yield "generator", lambda: read_view(tower, masked, GENERATOR)
    states = detach_states(gather_positions(read_view(tower, masked, GENERATOR), masked.chosen))
    logits, sampling = tower.token_logits(states).detach(), corrupt.sampling(masked, END)
    guess = GeneratorOutput(WrittenLogits(logits), states)
    yield "vocabulary", lambda: generator.result(guess, masked, tower.predict(states).score(masked.targets())).total
    yield "sampling", lambda: sample_tokens(logits, sampling.keys, sampling.temperature)


def detach_states(states: Tensor) -> Tensor:
    """The states without the graph that they came from; they still get a gradient."""
    return states.detach().requires_grad_()
