"""A step recorded as a CUDA graph is the step."""

import pytest
import torch

from compositions import batch, build, objective
from electra.engine.parallel import Parallel
from electra.engine.passes import Passes, Recorded, can_record
from electra.errors import UserError


@pytest.mark.parametrize("parallel", [Parallel(0, 1, torch.device("cpu")), Parallel(1, 2, torch.device("cuda"))])
def test_where_nothing_can_be_recorded_it_is_said(parallel: Parallel) -> None:
    with pytest.raises(UserError, match=r"engine\.cuda_graphs: only for one process on a GPU"):
        can_record(parallel, torch.nn.Identity())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("kind", ["electra", "mlm", "coco-lm"])
def test_a_replay_gives_the_same_statistics_and_gradients(kind: str) -> None:
    """Of two micro-batches a step, two steps: gradients add up inside a step and begin anew with the next."""
    device = torch.device("cuda")
    pretrainer = build(objective(kind, "classic")).to(device)
    plain = Passes(pretrainer, "float32", Parallel(0, 1, device))
    found = []
    for passes in (plain, Recorded(plain, list(pretrainer.parameters()))):
        for step in range(2):
            rows = [batch(epoch=2 * step + at) for at in range(2)]
            divisors = {name: n.float().to(device) for name, n in pretrainer.counts(rows[0]).items()}
            sums = [passes(each.to(device), divisors, torch.tensor(0.5, device=device)) for each in rows]
            gradients = {name: p.grad for name, p in pretrainer.named_parameters() if p.grad is not None}
            found.append(({name: value.clone() for name, value in gradients.items()}, sums))
            pretrainer.zero_grad(set_to_none=True)
    for one, other in zip(found[:2], found[2:], strict=True):
        torch.testing.assert_close(one, other)
