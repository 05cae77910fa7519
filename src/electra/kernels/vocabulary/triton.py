"""The vocabulary head in one pass, for a GPU: linear + cross-entropy + exact sampling; the logits are never stored.

The twin is ``twin.WrittenLogits``, which writes them out: 30,522 float32 numbers a position, read and written several
times. Here a program computes a tile of them, positions × ``TILE`` tokens, and stores a few numbers of each: the
log-sum-exp, the largest logit, the target's logit. A sample inverts the distribution in the two levels of
``twin.sample_tokens``, whose blocks are the tiles: a tile by its mass, then a token in that tile, whose logits are
computed again. The backward pass writes the gradient of the logits, ``CHUNK_BYTES`` at a time, in the type of the
states, and leaves the two products with it to PyTorch's matrix library. No sum depends on the order in which programs
run.

They are custom operations of PyTorch, which torch.compile calls as they are. For tests, Triton's interpreter runs them
on a CPU (TRITON_INTERPRET=1).
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from electra.kernels.random import uniform
from electra.kernels.vocabulary.twin import BLOCK_TOKENS as TILE
from electra.kernels.vocabulary.twin import Sampling, Score, Temperature, pick_block, pick_in_block

POSITIONS = 64  # positions of a tile; matrix units need a multiple of 16
WARPS = 8  # with 4 a tile does not fit into a Hopper GPU's registers
CHUNK_BYTES = 1 << 27  # of the logits' gradient are in memory at a time


@dataclass(frozen=True)
class FusedLogits:
    """The ``Prediction`` with logits ``states`` · ``table``ᵀ + ``bias``, which are never in memory as a whole. States
    and table are of one type, float32 or bfloat16; the sums are float32."""

    states: Float[Tensor, "picked dim"]
    table: Float[Tensor, "vocab dim"]
    bias: Float[Tensor, " vocab"]

    def score(self, targets: Int[Tensor, " picked"], sampling: Sampling | None = None) -> Score:
        """The targets' losses, the likeliest tokens and samples, from tiles of logits."""
        temperature = 1.0 if sampling is None else sampling.temperature
        never_target = sampling is not None and sampling.never_target
        apart = never_target or isinstance(temperature, Tensor) or temperature != 1.0
        if not isinstance(temperature, Tensor):
            temperature = torch.full((), temperature, device=self.states.device)
        factors = (self.states.contiguous(), self.table.contiguous(), self.bias.contiguous())
        losses, _, likeliest, masses = score_tiles(*factors, targets, temperature.float(), apart, never_target)
        if sampling is None:
            return Score(losses, likeliest)
        with torch.no_grad():
            numbers = uniform(sampling.keys, 3).double()
            block = pick_block((masses - masses.amax(1, keepdim=True)).exp(), numbers)
            tokens = block[:, None] * TILE + torch.arange(TILE, device=block.device)
            logits = tile_logits(*factors, block) / temperature
            if never_target:
                logits = logits.masked_fill(tokens == targets[:, None], float("-inf"))
            return Score(losses, likeliest, block * TILE + pick_in_block(logits, numbers))

    def select(self, positions: Int[Tensor, " some"]) -> "FusedLogits":
        """The prediction at some of the positions."""
        return FusedLogits(self.states[positions], self.table, self.bias)

    def with_temperature(self, temperature: Temperature) -> "FusedLogits":
        """The prediction of divided logits. The states are divided, so in bfloat16 they are rounded once more."""
        return FusedLogits(self.states / temperature, self.table, self.bias / temperature)


@triton.jit
def _logits(states, table, bias, rows, tokens, picked, vocabulary, dim: tl.constexpr, step: tl.constexpr,
            upcast: tl.constexpr):  # fmt: skip
    """float32 [rows, tokens]; −∞ beyond the vocabulary."""
    sums = tl.zeros((rows.shape[0], tokens.shape[0]), dtype=tl.float32)
    for start in range(0, dim, step):
        inner = start + tl.arange(0, step)
        real_rows = (rows[:, None] < picked) & (inner < dim)[None, :]
        real_tokens = (tokens[:, None] < vocabulary) & (inner < dim)[None, :]
        left = tl.load(states + rows[:, None].to(tl.int64) * dim + inner[None, :], mask=real_rows, other=0.0)
        right = tl.load(table + tokens[:, None].to(tl.int64) * dim + inner[None, :], mask=real_tokens, other=0.0)
        if upcast:  # the interpreter multiplies the bits of bfloat16
            left, right = left.to(tl.float32), right.to(tl.float32)
        sums = tl.dot(left, tl.trans(right), sums, input_precision="ieee")
    sums += tl.load(bias + tokens, mask=tokens < vocabulary, other=0.0).to(tl.float32)[None, :]
    return tl.where((tokens < vocabulary)[None, :], sums, float("-inf"))


@triton.jit
def _log_sum(logits):
    """log Σ exp of each row; −∞ if all its logits are."""
    top = tl.max(logits, 1)
    safe = tl.where(top == float("-inf"), 0.0, top)
    return safe + tl.log(tl.sum(tl.exp(logits - safe[:, None]), 1))


@triton.jit
def _score_tiles(states, table, bias, targets, temperature, masses, drawn, best, best_at, right, picked, vocabulary,
                 tiles, dim: tl.constexpr, step: tl.constexpr, positions: tl.constexpr, tile_size: tl.constexpr,
                 apart: tl.constexpr, never_target: tl.constexpr, upcast: tl.constexpr):  # fmt: skip
    """For each position of a tile the log-sum-exp to take the loss from (``masses``) and the one to draw from
    (``drawn``, if that is ``apart``), the largest logit and its token, and the target's logit if it is in this tile."""
    rows, tile = tl.program_id(0) * positions + tl.arange(0, positions), tl.program_id(1)
    tokens = tile * tile_size + tl.arange(0, tile_size)
    logits = _logits(states, table, bias, rows, tokens, picked, vocabulary, dim, step, upcast)
    real = rows < picked
    target = tl.load(targets + rows, mask=real, other=-1)
    is_target = tokens[None, :] == target[:, None]
    at = rows.to(tl.int64) * tiles + tile
    tl.store(masses + at, _log_sum(logits), mask=real)
    tl.store(best + at, tl.max(logits, 1), mask=real)
    tl.store(best_at + at, tile * tile_size + tl.argmax(logits, 1), mask=real)
    has_target = real & (target // tile_size == tile)
    tl.store(right + rows, tl.sum(tl.where(is_target, logits, 0.0), 1), mask=has_target)
    if apart:
        divided = logits / tl.load(temperature)
        if never_target:
            divided = tl.where(is_target, float("-inf"), divided)
        tl.store(drawn + at, _log_sum(divided), mask=real)


@triton.jit
def _tile_logits(states, table, bias, blocks, out, vocabulary, dim: tl.constexpr, step: tl.constexpr,
                 tile_size: tl.constexpr):  # fmt: skip
    """The logits of one tile for one position."""
    row = tl.program_id(0).to(tl.int64)
    tokens = tl.load(blocks + row) * tile_size + tl.arange(0, tile_size)
    sums = tl.zeros((tile_size,), dtype=tl.float32)
    for start in range(0, dim, step):
        inner = start + tl.arange(0, step)
        left = tl.load(states + row * dim + inner, mask=inner < dim, other=0.0).to(tl.float32)
        real_tokens = (tokens[:, None] < vocabulary) & (inner < dim)[None, :]
        right = tl.load(table + tokens[:, None] * dim + inner[None, :], mask=real_tokens, other=0.0).to(tl.float32)
        sums += tl.sum(right * left[None, :], 1)
    sums += tl.load(bias + tokens, mask=tokens < vocabulary, other=0.0).to(tl.float32)
    sums = tl.where(tokens < vocabulary, sums, float("-inf"))
    tl.store(out + row * tile_size + tl.arange(0, tile_size), sums)


@triton.jit
def _logit_gradients(states, table, bias, targets, log_sums, weights, out, columns, picked, vocabulary, width,
                     dim: tl.constexpr, step: tl.constexpr, positions: tl.constexpr, tile_size: tl.constexpr,
                     upcast: tl.constexpr):  # fmt: skip
    """(softmax − 1[target]) · weight, and its sums over the positions of a program. 0 beyond the vocabulary: a CPU's
    bfloat16 product reads numbers in pairs, so what follows an odd one must not be NaN."""
    rows, tile = tl.program_id(0) * positions + tl.arange(0, positions), tl.program_id(1)
    tokens = tile * tile_size + tl.arange(0, tile_size)
    logits = _logits(states, table, bias, rows, tokens, picked, vocabulary, dim, step, upcast)
    real = rows < picked
    target = tl.load(targets + rows, mask=real, other=-1)
    log_sum = tl.load(log_sums + rows, mask=real, other=0.0)
    weight = tl.load(weights + rows, mask=real, other=0.0)
    is_target = tokens[None, :] == target[:, None]
    slopes = (tl.exp(logits - log_sum[:, None]) - tl.where(is_target, 1.0, 0.0)) * weight[:, None]
    slopes = tl.where(real[:, None], slopes, 0.0)
    at = rows[:, None].to(tl.int64) * width + tokens[None, :]
    tl.store(out + at, slopes.to(out.dtype.element_ty), mask=real[:, None])
    tl.store(columns + tl.program_id(0) * width + tokens, tl.sum(slopes, 0))


def compile_constants(states: Tensor) -> dict[str, int | bool]:
    """The constants that the kernels are compiled with."""
    dim = states.shape[1]
    step = 64 if states.dtype == torch.bfloat16 else 32
    return {"dim": dim, "step": step, "tile_size": TILE, "num_warps": WARPS}


def matrix_constants(states: Tensor) -> dict[str, int | bool]:
    """The constants of the kernels with a matrix product."""
    return compile_constants(states) | {"positions": POSITIONS, "upcast": not states.is_cuda}


@torch.library.custom_op("electra::vocabulary_tiles", mutates_args=())
def score_tiles(
    states: Tensor, table: Tensor, bias: Tensor, targets: Tensor, temperature: Tensor, apart: bool, never_target: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For each position the loss of its target, the log-sum-exp of its logits (float32), its likeliest token (int64),
    and by tile the logarithm of the mass to draw from, float32 [picked, tiles].

    ``apart``: the mass to draw from is of other logits than the loss: of those divided by ``temperature``, with
    ``never_target`` without the target.
    """
    picked, vocabulary = states.shape[0], table.shape[0]
    count = triton.cdiv(vocabulary, TILE)
    masses, best, drawn = (states.new_empty((picked, count), dtype=torch.float32) for _ in range(3))
    best_at = states.new_empty((picked, count), dtype=torch.int32)
    right = states.new_empty(picked, dtype=torch.float32)
    with torch.cuda.device_of(states):  # Triton launches on the current device, wherever the tensors are
        _score_tiles[(triton.cdiv(picked, POSITIONS), count)](
            states, table, bias, targets, temperature, masses, drawn, best, best_at, right, picked, vocabulary, count,
            apart=apart, never_target=never_target, **matrix_constants(states),
        )  # fmt: skip
    log_sums = masses.logsumexp(1)
    likeliest = best_at.gather(1, best.argmax(1, keepdim=True)).squeeze(1).long()
    return log_sums - right, log_sums, likeliest, drawn if apart else masses


@score_tiles.register_fake
def _fake_score_tiles(states, table, bias, targets, temperature, apart, never_target):
    picked, count = states.shape[0], triton.cdiv(table.shape[0], TILE)
    numbers = states.new_empty(picked, dtype=torch.float32)
    return numbers, torch.empty_like(numbers), torch.empty_like(targets), states.new_empty(
        (picked, count), dtype=torch.float32
    )  # fmt: skip


@torch.library.custom_op("electra::vocabulary_gradients", mutates_args=())
def vocabulary_gradients(
    states: Tensor, table: Tensor, bias: Tensor, targets: Tensor, log_sums: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of Σ weight · loss with respect to the states, the table and the bias."""
    picked, vocabulary = states.shape[0], table.shape[0]
    count = triton.cdiv(vocabulary, TILE)
    width = count * TILE  # whole tiles, so that each line begins at an address that the products load fast
    chunk = max(POSITIONS, CHUNK_BYTES // (width * states.element_size()) // POSITIONS * POSITIONS)
    slopes = states.new_empty((min(chunk, picked), width))
    of_states = torch.empty_like(states)
    of_table, of_bias = torch.zeros_like(table, dtype=torch.float32), torch.zeros_like(bias, dtype=torch.float32)
    for start in range(0, picked, chunk):
        part = states[start : start + chunk]
        blocks = triton.cdiv(len(part), POSITIONS)
        columns = states.new_empty((blocks, width), dtype=torch.float32)
        arguments = (tensor[start : start + chunk] for tensor in (targets, log_sums, weights))
        with torch.cuda.device_of(states):
            _logit_gradients[(blocks, count)](
                part, table, bias, *arguments, slopes, columns, len(part), vocabulary, width, **matrix_constants(states)
            )
        of_logits = slopes[: len(part), :vocabulary]
        torch.mm(of_logits, table, out=of_states[start : start + chunk])
        of_table += of_logits.mT @ part
        of_bias += columns.sum(0)[:vocabulary]
    return of_states, of_table.to(table.dtype), of_bias.to(bias.dtype)


@vocabulary_gradients.register_fake
def _fake_vocabulary_gradients(states, table, bias, targets, log_sums, weights):
    return torch.empty_like(states), torch.empty_like(table), torch.empty_like(bias)


def _save_for_vocabulary(ctx, inputs, output) -> None:
    states, table, bias, targets, *_ = inputs
    ctx.save_for_backward(states, table, bias, targets, output[1])
    ctx.mark_non_differentiable(output[1], output[2], output[3])


def _vocabulary_backward(ctx, weights, *_):
    return *vocabulary_gradients(*ctx.saved_tensors, weights.contiguous()), None, None, None, None


score_tiles.register_autograd(_vocabulary_backward, setup_context=_save_for_vocabulary)


@torch.library.custom_op("electra::vocabulary_inside", mutates_args=())
def tile_logits(states: Tensor, table: Tensor, bias: Tensor, blocks: Tensor) -> Tensor:
    """float32 [picked, TILE]: the logits of one tile for each position; −∞ beyond the vocabulary."""
    out = states.new_empty((states.shape[0], TILE), dtype=torch.float32)
    with torch.cuda.device_of(states):
        _tile_logits[(states.shape[0],)](states, table, bias, blocks, out, table.shape[0], **compile_constants(states))
    return out


@tile_logits.register_fake
def _fake_tile_logits(states, table, bias, blocks):
    return states.new_empty((states.shape[0], TILE), dtype=torch.float32)
