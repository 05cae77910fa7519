"""The groups that a run's processes form, and which of them the others wait for in vain."""

import atexit
import contextlib
import os
import socket
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from functools import cache

import torch
from torch.distributed import DistError, PrefixStore, ProcessGroup, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from electra.errors import UserError

# How long to wait for a process that has died or does something else: the first alone saves and probes.
GROUP_TIMEOUT = timedelta(minutes=30)
ROLL_CALL = timedelta(minutes=1)  # … and then for the others to say that they wait too
POLL_SECONDS = 0.2
ASKING, OWNERS, WAITING = "asking", "owner of", "waiting"  # what processes leave in the store, each under its number


@cache
def join_group(rank: int, world: int, device: torch.device) -> Store:
    """Join the process group of a run; returns the store at which its processes leave notes for each other."""
    meeting_place, _, _ = next(rendezvous("env://", rank, world, timeout=GROUP_TIMEOUT))
    store = open_fresh_store(meeting_place, rank, world)
    backend, bound = ("nccl", device) if device.type == "cuda" else ("gloo", None)
    torch.distributed.init_process_group(
        backend, store=store, rank=rank, world_size=world, timeout=GROUP_TIMEOUT, device_id=bound
    )
    if backend == "gloo":
        atexit.register(leave_group)
    notes = PrefixStore("electra", store)
    notes.set(f"{OWNERS} {rank}", f"number {os.getpid()} on {socket.gethostname()}")
    return notes


def open_fresh_store(store: Store, rank: int, world: int) -> Store:
    """A part of the store that only the processes of this start write to.

    When torchrun restarts them, it gives them the same store again, in which they would take the addresses of processes
    that are gone for those of the new ones (pytorch#167288). Its count of restarts differs from machine to machine. So
    the first process makes up a name, and tells it to each of the others in answer to a word that is new.
    """
    if rank:
        word = uuid.uuid4().hex
        store.set(f"{ASKING} {rank}", word)
        name = store.get(word).decode()  # waits until it is there
        store.add(name, 1)
        return PrefixStore(name, store)
    name = uuid.uuid4().hex
    answered: set[str] = set()
    ends = time.monotonic() + GROUP_TIMEOUT.total_seconds()
    while store.add(name, 0) < world - 1:
        for key in (f"{ASKING} {other}" for other in range(1, world)):
            if store.check([key]) and (word := store.get(key).decode()) not in answered:
                store.set(word, name)
                answered.add(word)
        if time.monotonic() > ends:
            raise UserError(f"of {world} processes some did not begin within {GROUP_TIMEOUT}")
        time.sleep(POLL_SECONDS / 10)
    return PrefixStore(name, store)


@cache
def join_machine_group(size: int) -> ProcessGroup:
    """The group of ``size`` processes, numbered one after another, that this one belongs to."""
    own, _ = torch.distributed.new_subgroups(size)
    return own


def leave_group() -> None:
    """Leave the process group while Python still runs. Gloo's threads may hold tensors of the last reductions; if they
    free them after Python has ended, the process aborts although its work is done (pytorch#179291).

    For gloo only: NCCL would wait here for processes that have failed (torchtitan#1342).
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@contextlib.contextmanager
def name_missing(rank: int, world: int, notes: Store | None) -> Iterator[None]:
    """A context in which gloo's error that another process does not answer becomes one that says which.

    A process that has waited in vain says so in the store; those that have not said it within ``ROLL_CALL`` hang, or
    are gone. Nothing is sent while all is well. NCCL is not asked: it ends the process, with a message of its own.

    Raises:
        UserError: another process has not answered for ``GROUP_TIMEOUT``, or its connection is broken.
    """
    try:
        yield
    except RuntimeError as error:
        if notes is None or "gloo" not in str(error):  # gloo's errors have no class of their own
            raise
        raise UserError(describe_missing(rank, world, notes)) from error


def describe_missing(rank: int, world: int, notes: Store) -> str:
    """Say in the store that this process waits; one line that names those that do not."""
    others = [number for number in range(world) if number != rank]
    # Without torchrun the first process keeps the store: it leaves last.
    ends = time.monotonic() + ROLL_CALL.total_seconds() * (1 if rank else 2)
    try:
        notes.set_timeout(ROLL_CALL)
        notes.set(f"{WAITING} {rank}", "")
        while others and time.monotonic() < ends:
            time.sleep(POLL_SECONDS)
            others = [number for number in others if not notes.check([f"{WAITING} {number}"])]
        names = [f"process {number} ({notes.get(f'{OWNERS} {number}').decode()})" for number in others]
    except DistError:
        names = ["process 0, or torchrun on its machine, where the processes meet,"]
    if not names:
        return f"process {rank} of {world}: the processes have lost their connections to each other"
    return f"process {rank} of {world}: {', '.join(names)} did not answer within {GROUP_TIMEOUT}: hangs or is gone"
