"""A GPU that is not there: its tensors lie in the CPU's memory, and refuse to meet those that were not moved to it.

What stays behind somewhere, a module, a batch, an optimizer's state, raises on a machine without a GPU too, at the line
that meets it; and what would make the host wait for a GPU, or copy to it, is counted. All else runs for real: autograd,
fused optimizers, checkpoints. Not tried are a GPU's own kernels, compilation and recordings.

torch lets a backend be written in Python: the device has a name of its own, and its tensors are of a subclass that a
dispatcher unwraps (https://docs.pytorch.org/docs/stable/notes/extending.html).
"""

import contextlib
import itertools
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial, partialmethod
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from electra.engine import prefetch
from electra.engine.parallel import Parallel
from electra.engine.train import Loop

NAME = "pretended"
SOURCE = str(Path(prefetch.__file__).parents[1])
# Operations whose result, or its size, the host has to know.
WAITS = {
    "_local_scalar_dense", "item", "is_nonzero", "nonzero", "equal", "masked_select", "_unique2", "unique_dim",
    "unique_consecutive", "bincount",
}  # fmt: skip
COPIES = {"copy_", "_to_copy"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}  # by numbers in the CPU's memory too: a copy
TOGETHER = ("_fused", "_foreach", "cat", "stack")  # take no number in the CPU's memory beside the device's tensors


class WrongDevice(RuntimeError):
    """Tensors of two devices met."""


@dataclass
class Seen:
    """How often, by what and line of the product, the host waited for the device, and copied to it."""

    waits: Counter = field(default_factory=Counter)
    uploads: Counter = field(default_factory=Counter)
    steps: list[tuple[Counter, Counter]] = field(default_factory=list)  # the same of each step of a loop alone


SEEN = Seen()
KEPT: list[torch.library.Library] = []  # what is registered lives as long as it


def line() -> str:
    """The product's innermost line, and its function."""
    frame = sys._getframe()
    while frame is not None and not frame.f_code.co_filename.startswith(SOURCE):
        frame = frame.f_back
    if frame is None:
        return "elsewhere"
    return f"{frame.f_code.co_filename[len(SOURCE) + 1 :]}:{frame.f_lineno} {frame.f_code.co_name}"


class There(Tensor):
    """A tensor on the device; ``inner`` has its values."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "There":
        made = Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            device=device(), requires_grad=inner.requires_grad,
        )  # fmt: skip
        made.inner = inner.detach()
        return made

    def tolist(self) -> Any:
        SEEN.waits["tolist", line()] += 1
        return self.inner.tolist()

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise WrongDevice(f"{line()}: numpy is asked to read the device's memory; .cpu() first")

    __array__ = numpy

    def __repr__(self, **kwargs: Any) -> str:
        return f"There({self.inner!r})"

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(function, args, kwargs or {})


def computed(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What an operation gives, wherever its tensors are."""
    name = function.name().removeprefix("aten::").split(".")[0]
    tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
    there = [each for each in tensors if isinstance(each, There)]
    here = [each for each in tensors if not isinstance(each, There)]
    goes = torch.device(kwargs["device"]).type if kwargs.get("device") is not None else ""
    check(name, there, here, args)
    count(name, there, here, goes)
    if goes:
        kwargs = {k: v for k, v in kwargs.items() if k != "pin_memory"} | {"device": torch.device("cpu")}
    given, named = tree_map(lambda each: each.inner if isinstance(each, There) else each, (args, kwargs))
    result = function(*given, **named)
    if not (goes == NAME if goes else there):
        return result
    given_back = {id(each.inner): each for each in there}  # by what computes in place

    def there_too(each: Any) -> Any:
        if not isinstance(each, Tensor):
            return each
        return given_back[id(each)] if id(each) in given_back else There(each)

    return tree_map(there_too, result)


def check(name: str, there: list[Tensor], here: list[Tensor], args: Any) -> None:
    """Raise ``WrongDevice`` where a GPU would not go on."""
    if not there or not here or name in COPIES:
        return
    wrong = [each for each in here if each.dim() or name.startswith(TOGETHER)]
    if name in INDEXING:
        put = [each for each in args[2:3] if isinstance(each, Tensor) and each.dim()]  # of index_put: the values
        wrong = [each for each in (args[0], *put) if not isinstance(each, There)]
    if wrong:
        shapes = [[tuple(each.shape) for each in group][:3] for group in (there, wrong)]
        raise WrongDevice(f"{line()}: {name} of {shapes[0]} on the device and {shapes[1]} on the CPU")


def count(name: str, there: list[Tensor], here: list[Tensor], goes: str) -> None:
    """Note what a GPU would take the host's time for."""
    by_truth = name in INDEXING and any(each.dtype == torch.bool for each in there[1:])
    if there and (name in WAITS or by_truth or (name == "_to_copy" and goes == "cpu")):
        SEEN.waits[name, line()] += 1
    if (name == "_to_copy" and not there and goes == NAME) or (name in INDEXING | {"copy_"} and there and here):
        SEEN.uploads[name, line()] += 1


class Pretending(TorchDispatchMode):
    """For operations that are given no tensor of the device: they may make one."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if There not in types and kwargs.get("device") is None:
            return function(*args, **kwargs)
        return computed(function, args, kwargs)


class Backend:
    """What torch asks a device's module."""

    is_available = is_initialized = staticmethod(lambda: True)
    device_count = staticmethod(lambda: 1)
    current_device = staticmethod(lambda: 0)
    _is_in_bad_fork = staticmethod(lambda: False)
    manual_seed_all = staticmethod(lambda seed: None)
    synchronize = staticmethod(lambda device=None: None)
    get_amp_supported_dtype = staticmethod(lambda: [torch.bfloat16])
    device = staticmethod(lambda number: contextlib.nullcontext())
    get_rng_state = staticmethod(torch.get_rng_state)
    set_rng_state = staticmethod(torch.set_rng_state)


@cache
def device() -> torch.device:
    """The device. torch keeps it, and wants to know of it before the first gradient of the process: hence the marker
    ``pretended``, whose tests run by themselves."""
    _setup_privateuseone_for_python_backend(NAME, Backend())
    KEPT.append(torch.library.Library("_", "IMPL", "AutocastPrivateUse1"))
    KEPT[0].fallback(torch.library.fallthrough_kernel)  # autocast changes nothing: a bfloat16 run computes in float32
    return torch.device(NAME, 0)


def counted(step: Any, loop: Loop, *args: Any) -> None:
    """A step of the loop; what it counts is kept by itself."""
    before = SEEN.waits.copy(), SEEN.uploads.copy()
    step(loop, *args)
    SEEN.steps.append((SEEN.waits - before[0], SEEN.uploads - before[1]))


def is_there(module: nn.Module, where: torch.device) -> bool:
    """Whether a module need not move: exchanging its parameters anew is not always possible."""
    return all(each.device == where for each in itertools.chain(module.parameters(), module.buffers()))


def saved(model: Any, save: Any, folder: Path, **settings: Any) -> None:
    """What transformers saves; it looks at the addresses of tensors, which those of the device have not."""
    save(model, folder, state_dict={name: value.cpu() for name, value in model.state_dict().items()}, **settings)


@contextlib.contextmanager
def pretending() -> Iterator[Seen]:
    """Inside, the product finds such a device, in the thread that reads ahead too."""
    there, mode = device(), Pretending()
    for counter in (SEEN.waits, SEEN.uploads, SEEN.steps):
        counter.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Parallel, "local_device", staticmethod(lambda number=0: there))
        patch.setattr(prefetch, "ThreadPoolExecutor", partial(ThreadPoolExecutor, initializer=mode.__enter__))
        step = Loop.step
        patch.setattr(Loop, "step", lambda loop, *args: counted(step, loop, *args))
        to, save = nn.Module.to, transformers.PreTrainedModel.save_pretrained
        patch.setattr(nn.Module, "to", lambda module, where: module if is_there(module, where) else to(module, where))
        patch.setattr(transformers.PreTrainedModel, "save_pretrained", partialmethod(saved, save))
        # Parameters are exchanged as they move, and torch.tensor(…, device=…) makes its value on the CPU and moves it.
        swaps, lifts = torch.__future__.get_swap_module_params_on_conversion(), torch._C._only_lift_cpu_tensors()
        torch.__future__.set_swap_module_params_on_conversion(True)
        torch._C._set_only_lift_cpu_tensors(True)
        try:
            with mode:
                yield SEEN
        finally:
            torch.__future__.set_swap_module_params_on_conversion(swaps)
            torch._C._set_only_lift_cpu_tensors(lifts)
