"""Compile every kernel in Triton for a Hopper GPU, which works without one, and print what each would need of it.

A JSON object: kernel → bytes of shared memory, and of local memory a thread, to which registers are spilled. It is a
process of its own: where Triton interprets, it does not compile.
"""

import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia import compiler as nvidia
from triton.compiler import ASTSource

from electra.kernels.attention import triton as attention_triton
from electra.kernels.vocabulary import triton as vocabulary_triton

NUMBERS = {"picked", "vocabulary", "tiles", "width", "rows", "heads", "length", "threshold"}
FRACTIONS = {"scale", "keep_scale"}
INDICES = {"targets", "blocks"}
WORDS = {"documents", "words", "best_at"}
HALVES = {"states", "table", "q", "k", "v", "slopes", "k_out", "v_out"}  # bfloat16, as in a run


def measure_kernel(kernel: Any, halves: set[str], warps: int, **constants: Any) -> dict[str, int]:
    """What a kernel compiled with these constants needs; ``halves``: its bfloat16 tensors."""
    types = {}
    for name in kernel.arg_names:
        if name in constants:
            types[name] = "constexpr"
        elif name.endswith("strides"):
            types[name] = ("i32", "i32", "i32")
        elif name in NUMBERS:
            types[name] = "i32"
        elif name in FRACTIONS:
            types[name] = "fp32"
        else:
            of = "i64" if name in INDICES else "i32" if name in WORDS else "bf16" if name in halves else "fp32"
            types[name] = f"*{of}"
    at = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    made = triton.compile(ASTSource(kernel, types, at), target=GPUTarget("cuda", 90, 32), options={"num_warps": warps})
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(made.asm["cubin"])
        tool = Path(nvidia.__file__).parent / "bin" / "cuobjdump"
        report = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True)
    bytes_of_stack = re.findall(r"(?:STACK|LOCAL):(\d+)", report.stdout + report.stderr)
    return {"shared": made.metadata.shared, "spilled": max(int(count) for count in bytes_of_stack)}


def measure_kernels() -> dict[str, dict[str, int]]:
    """Every kernel, at the sizes of the towers of ELECTRA-Small and Base."""
    resources, warps = {}, vocabulary_triton.WARPS
    rows = {"positions": vocabulary_triton.POSITIONS, "upcast": False}
    for dim in (128, 768):
        sizes = {"dim": dim, "step": 64, "tile_size": vocabulary_triton.TILE}
        for apart in (False, True):
            name = f"tiles, {dim}, {'apart' if apart else 'together'}"
            resources[name] = measure_kernel(
                vocabulary_triton._score_tiles, HALVES, warps, apart=apart, never_target=apart, **sizes, **rows
            )
        resources[f"inside, {dim}"] = measure_kernel(vocabulary_triton._tile_logits, HALVES, warps, **sizes)
        resources[f"gradient, {dim}"] = measure_kernel(
            vocabulary_triton._logit_gradients, HALVES | {"out"}, warps, **sizes, **rows
        )
    for reach in (-1, 64):
        for drops in (False, True):
            constants = {"dim": 64, "width": 64, "block": attention_triton.BLOCK, "drops": drops, "upcast": False}
            constants |= {"reach": reach, "back": True, "ahead": True}
            for part in ("forward", "query_gradients", "key_gradients"):
                kernel = getattr(attention_triton, f"_{part}")
                resources[f"attention {part}, reach {reach}, dropout {drops}"] = measure_kernel(
                    kernel, HALVES | {"out"}, attention_triton.WARPS, **constants
                )
    return resources


if __name__ == "__main__":
    print(json.dumps(measure_kernels()))
