"""What the kernels for a CPU are worth: each beside its readable twin, compiled, forward and backward, in turns in one
process; attention over long rows beside PyTorch's own kernel, Muon's iteration beside the formula as it is written.

    python benchmarks/kernels.py --json kernels.json
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from electra.engine.compiling import compile_if_possible
from electra.engine.muon import COEFFICIENTS, ITERATIONS, orthogonalize
from electra.engine.parallel import Parallel, flush_denormals
from electra.engine.telemetry import describe_environment
from electra.kernels import Kernels, cpu
from electra.kernels.attention.operation import KEPT_LENGTH, attention
from electra.kernels.attention.twin import visibility_mask
from electra.kernels.gelu.operation import gelu
from electra.kernels.random import derive_streams, fold
from electra.model.blocks import join_heads, split_heads
from electra.report.tables import format_table

CPU = torch.device("cpu")
ATTENTION = {  # rows, heads, length, window, tokens a document has
    "small: 16 × 128": (16, 4, 128, None, 128), "small's generator: 16 × 128": (16, 1, 128, None, 128),
    "base: 4 × 512": (4, 12, 512, None, 512), "modern-small, local layer, packed: 4 × 1024": (4, 4, 1024, 128, 200),
}  # fmt: skip
GELU = {"small: 2,048 × 1,024": (2048, 1024), "small's generator: 2,048 × 256": (2048, 256)}
MUON = [(16, 768, 256), (16, 256, 256), (16, 1344, 256), (16, 256, 672)]  # modern-small's matrices
WAYS: tuple[Kernels, ...] = ("", "cpu")
NUMBERS = (torch.float32, torch.bfloat16)
HEAD = 64  # numbers of a head


def main(arguments: Sequence[str] | None = None) -> None:
    """Time every item in both ways, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", default="", help="file to write the figures to")
    parser.add_argument("--turns", type=int, default=30)
    options = parser.parse_args(arguments)
    Parallel.alone()
    medians: list[tuple[str, float, float]] = []  # what, seconds of the twin, seconds of ours
    with flush_denormals():
        for number in NUMBERS:
            for what, ways in list_items(number):
                twin, ours = time_in_turns(ways, options.turns).values()
                medians.append((what, twin, ours))
                print(f"{what}: {1000 * twin:.2f} ms, ours {1000 * ours:.2f} ms: {twin / ours:.2f} times", flush=True)
    rows = [[what, f"{1000 * twin:.2f}", f"{1000 * ours:.2f}", f"{twin / ours:.2f}"] for what, twin, ours in medians]
    print(format_table(("forward and backward", "twin, ms", "ours, ms", "times"), rows))
    if options.json:
        report = {
            "command": "python benchmarks/kernels.py",
            "environment": describe_environment(),
            "turns": options.turns,
        }
        found = [{"what": what, "twin": twin, "ours": ours, "ratio": twin / ours} for what, twin, ours in medians]
        Path(options.json).write_text(json.dumps(report | {"found": found}, indent=1) + "\n", encoding="utf-8")


def list_items(number: torch.dtype) -> Iterator[tuple[str, dict[str, Callable[[], Any]]]]:
    """What is timed, and the two ways to do it."""
    name = str(number).removeprefix("torch.")
    if cpu.supports_dtype(number):
        for what, sizes in ATTENTION.items():
            yield f"attention, {name}, {what}", {way: build_attention_call(*sizes, number, way) for way in WAYS}
        for what, shape in GELU.items():
            yield f"GELU, {name}, {what}", {way: build_gelu_call(shape, number, way) for way in WAYS}
    stacks = [torch.randn(shape) for shape in MUON]
    yield (
        f"Muon's iteration, {name}, modern-small",
        {
            "": lambda: [orthogonalize_as_written(stack) for stack in stacks],
            "cpu": lambda: [orthogonalize(stack, number) for stack in stacks],
        },
    )


def build_attention_call(
    rows: int, heads: int, length: int, window: int | None, tokens: int, number: torch.dtype, kernels: Kernels
) -> Callable[[], Any]:
    """A call that computes attention of what one product gives, biases added, dropout 0.1, and its gradients."""
    x = torch.randn(rows, length, 3 * heads * HEAD).to(number).requires_grad_()
    bias = torch.randn(3 * heads * HEAD).requires_grad_()
    documents = (torch.arange(length) // tokens + 1).expand(rows, -1)
    words = derive_streams(fold(torch.arange(rows, dtype=torch.int32), 4), torch.tensor([9], dtype=torch.int32))[0]
    slopes = torch.randn(rows, length, heads * HEAD).to(number)

    def run(x: Tensor, bias: Tensor) -> Tensor:
        q, k, v = split_heads(x + bias.to(x.dtype), heads)
        if kernels or length <= KEPT_LENGTH:
            return join_heads(attention(q, k, v, documents, window, words, 0.1, "both", kernels))
        seen = visibility_mask(documents, window)[:, None]
        return join_heads(F.scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=0.1))

    compiled = compile_if_possible(run, "auto", CPU)
    return lambda: torch.autograd.grad(compiled(x, bias), (x, bias), slopes)


def build_gelu_call(shape: tuple[int, int], number: torch.dtype, kernels: Kernels) -> Callable[[], Any]:
    """A call that computes GELU of a product and its biases, and its gradients."""
    x, slopes = torch.randn(shape).to(number).requires_grad_(), torch.randn(shape).to(number)
    bias = torch.randn(shape[1]).requires_grad_()
    compiled = compile_if_possible(lambda x, bias: gelu(x, bias, kernels), "auto", CPU)
    return lambda: torch.autograd.grad(compiled(x, bias), (x, bias), slopes)


def orthogonalize_as_written(matrices: Tensor) -> Tensor:
    """Muon's formula in float32."""
    a, b, c = COEFFICIENTS
    x = matrices.mT if matrices.shape[1] > matrices.shape[2] else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def time_in_turns(ways: dict[str, Callable[[], Any]], count: int) -> dict[str, float]:
    """Median seconds of each way, taken in turns after two that do not count."""
    laps: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(2 + count):
        for way, run in ways.items():
            began = time.perf_counter()
            run()
            laps[way].append(time.perf_counter() - began)
    return {way: statistics.median(seconds[2:]) for way, seconds in laps.items()}


if __name__ == "__main__":
    main()
