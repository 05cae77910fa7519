"""The tables of docs/scale.md that are arithmetic: state, bytes of a step, and what to expect of 8 and 64 GPUs on links
whose speed is stated. Nothing here is measured.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from unittest import mock

import torch

from electra.engine.muon import ITERATIONS
from electra.engine.optim import Muon, collect_parameters
from electra.objectives.build import CorpusFacts
from electra.recipes import apply_preset
from electra.report.tables import format_markdown
from electra.workflows.bench.steps import MASK
from electra.workflows.pretraining.config import PretrainConfig

PRESETS = ("small", "base", "modern-base", "large")
FLOPS = 400e12  # a second of an H100's 989e12 in bfloat16: a rate that well-tuned training of large layers reaches
STATE = 16  # bytes of a parameter: float32 weight, gradient, and two moments of AdamW
MATRIX_STATE = 12  # of a matrix that Muon moves: it has one moment
SENT = 4  # bytes of a gradient
BACKWARD = 2 / 3  # share of a step in which gradients are ready to be sent
LAST_BUCKET = 25e6  # bytes that DDP can send only when the backward pass has ended
GPU_MEMORY = 80e9
# Bytes a second, each way, as a reduction gets them: of a GPU's NVLink (450e9); of a machine's eight cards of 400 Gb/s
# (400e9); of one of 100 Gb/s (12.5e9). Several rings run at once, each over another card, so a machine's cards add up.
NVLINK, INFINIBAND, ETHERNET = 300e9, 200e9, 10e9


@dataclass(frozen=True)
class Cluster:
    """``gpus``, ``machine`` of them in each machine; ``bandwidth``: of the slowest link between them."""

    name: str
    gpus: int
    bandwidth: float
    machine: int = 8


CLUSTERS = (
    Cluster("8, NVLink", 8, NVLINK),
    Cluster("64, InfiniBand", 64, INFINIBAND),
    Cluster("64, Ethernet", 64, ETHERNET),
)


@dataclass(frozen=True)
class Sizes:
    """Of a preset: ``parameters``, those of them in matrices that Muon moves, ``muon``: FLOPs of its iterations, and
    ``flops`` of a step's products."""

    preset: str
    rows: int
    length: int
    parameters: int
    in_matrices: int
    muon: float
    flops: float

    @property
    def state(self) -> int:
        """Bytes that every process keeps of the model and its optimizer."""
        return STATE * (self.parameters - self.in_matrices) + MATRIX_STATE * self.in_matrices


@cache
def count_sizes(preset: str) -> Sizes:
    """Build a preset's modules without drawing their weights, and count."""
    recipe = apply_preset(PretrainConfig(), preset)
    with mock.patch("torch.nn.init.trunc_normal_"), mock.patch("torch.nn.init.xavier_uniform_"):
        pretrainer = recipe.objective.build(recipe.encoder, CorpusFacts(MASK), recipe.seed)
    parameters = collect_parameters(pretrainer, pretrainer.towers())
    matrices = [p.value for p in parameters if p.matrix] if isinstance(recipe.optimizer, Muon) else []
    phase = recipe.phases[-1]
    return Sizes(
        preset, phase.rows, phase.length, sum(p.value.numel() for p in parameters),
        sum(matrix.numel() for matrix in matrices), sum(map(count_muon, matrices)),
        phase.rows * pretrainer.flops(phase.length),
    )  # fmt: skip


def count_muon(matrix: torch.Tensor) -> float:
    """FLOPs of Muon's iterations of a matrix, as they are done in bfloat16: X Xᵀ, its square, their sum times X."""
    short, long = sorted(matrix.shape)
    return ITERATIONS * (4.0 * short**2 * long + 2 * short**3)


def seconds_to_reduce(sizes: Sizes, cluster: Cluster) -> float:
    """Seconds in which gradients are added up over a cluster, by a ring: each GPU sends nearly twice their bytes."""
    return 2 * (cluster.gpus - 1) / cluster.gpus * SENT * sizes.parameters / cluster.bandwidth


def predict_efficiency(sizes: Sizes, cluster: Cluster) -> tuple[float, float]:
    """The share of a GPU's time that is not spent waiting for gradients: if they are sent while the backward pass runs,
    and if they are sent after it."""
    alone = sizes.flops / FLOPS / cluster.gpus
    sending = seconds_to_reduce(sizes, cluster)
    last = sending * min(1.0, LAST_BUCKET / (SENT * sizes.parameters))
    hidden = max(last, sending - BACKWARD * alone)
    return alone / (alone + hidden), alone / (alone + sending)


def list_state_rows() -> Iterator[list[object]]:
    """Rows of the table of what each process keeps and sends."""
    for sizes in map(count_sizes, PRESETS):
        yield [
            sizes.preset, f"{sizes.rows:,} × {sizes.length}", f"{sizes.parameters / 1e6:,.0f} M",
            f"{sizes.state / 1e9:.1f} GB", f"{sizes.state / GPU_MEMORY:.1%}",
            f"{SENT * sizes.parameters / 1e9:.2f} GB", f"{sizes.flops / 1e12:,.1f}",
        ]  # fmt: skip


def list_scaling_rows(cluster: Cluster) -> Iterator[list[object]]:
    """Rows of the table of what a cluster is expected to do with each preset's own step."""
    for sizes in map(count_sizes, PRESETS):
        overlapped, after = predict_efficiency(sizes, cluster)
        yield [
            sizes.preset, cluster.name, f"{1000 * sizes.flops / FLOPS / cluster.gpus:,.2f} ms",
            f"{1000 * seconds_to_reduce(sizes, cluster):,.2f} ms", f"{overlapped:.0%}", f"{after:.0%}",
            f"{overlapped * cluster.gpus:.1f}",
        ]  # fmt: skip


def list_muon_rows() -> Iterator[list[object]]:
    """Rows of the table of what sharing out Muon's iterations within a machine is worth."""
    for sizes in map(count_sizes, ("modern-small", "modern-base")):
        for cluster in CLUSTERS[:2]:
            step, whole = sizes.flops / FLOPS / cluster.gpus, sizes.muon / FLOPS
            sent = 2 * sizes.in_matrices * (cluster.machine - 1) / cluster.machine / NVLINK
            yield [
                sizes.preset, cluster.gpus, f"{1000 * step:.2f} ms", f"{1000 * whole:.2f} ms",
                f"{1000 * whole / cluster.machine:.2f} ms", f"{1000 * sent:.2f} ms",
            ]  # fmt: skip


def format_tables() -> str:
    """The tables as Markdown."""
    largest = GPU_MEMORY / 2 / STATE
    state = format_markdown(
        ("preset", "a step", "parameters", "state", "of 80 GB", "gradients sent", "TFLOP a step"),
        list(list_state_rows()),
    )
    rows = [row for cluster in CLUSTERS for row in list_scaling_rows(cluster)]
    scaling = format_markdown(
        ("preset", "GPUs", "products", "gradients", "efficiency", "if sent after", "times one GPU"), rows
    )
    muon = format_markdown(
        ("preset", "GPUs", "products", "Muon, by all", "shared by 8", "results sent"), list(list_muon_rows())
    )
    return "\n\n".join([state, f"State is half of 80 GB at {largest / 1e9:.1f} billion parameters.", scaling, muon])


if __name__ == "__main__":
    print(format_tables())
