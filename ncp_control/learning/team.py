"""Several processes that learn one policy: each takes a share of every batch.

`torchrun --nproc-per-node N scripts/train.py …` starts N processes. The first one runs the job as
if it were alone: it alone reads data, acts in worlds, judges, and writes. The others help it with
the gradients. In each step the first process hands out weights and shares of the batch and gets
back, of share r with weight w_r (what its loss divides by), w_r ∇L_r:

    ∇L = Σ_r w_r ∇L_r / Σ_r w_r

which is the gradient of the whole batch, but for rounding. When one process ends before the job,
torchrun ends the others; with `--max-restarts` it starts all again, and the job goes on with the
run that it had begun.
"""

import contextlib
import importlib
import itertools
import os
import signal
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, distributed, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from ncp_control.imports import import_modules, imported_modules
from ncp_control.learning.launched import is_launched, rank

_LONGEST = timedelta(days=30)
"""Time for which a helper waits, e.g. while the first process acts in worlds."""
_MODEL, _SHARE, _END = "model", "share", "end"


class Shared(Protocol):
    """What a training learns from a batch, as far as helpers have to know it; it can be pickled."""

    told: ClassVar[tuple[str, ...]]
    """What is told beside the loss, by name."""

    def loss(self, model: Any, batch: Any) -> Tensor:
        """Return the mean that is minimised: a number, or a vector of it and what is told."""
        ...

    def weight(self, model: Any, batch: Any) -> Tensor:
        """Return what these means divide by: by it, shares of a batch count."""
        ...

    def split(self, batch: Any, count: int) -> list[Any]:
        """Return as many shares of a batch, in order; None for those for which nothing is left."""
        ...


def shares(batch: Any, count: int) -> list[dict[str, Tensor] | None]:
    """Return the tensors of a batch in as many shares, of whole rows each; None for those too many.

    Args:
        batch: Tensors by name, all with as many rows.
        count: How many shares, of as equal sizes as there can be.
    """
    tensors: dict[str, Tensor] = vars(batch)
    rows = len(next(iter(tensors.values())))
    bounds = [round(i * rows / count) for i in range(count + 1)]
    return [
        # Copies: a part of a tensor is sent with the whole.
        {name: values[first:end].clone() for name, values in tensors.items()}
        if first < end
        else None
        for first, end in itertools.pairwise(bounds)
    ]


class Team:
    """The processes that torchrun started, as the first of them sees them."""

    def __init__(self) -> None:
        self.size = distributed.get_world_size()
        self._model: nn.Module | None = None

    def take_gradient(
        self, shared: Shared, model: nn.Module, batch: Any
    ) -> tuple[float, dict[str, float]]:
        """Put the gradient of a batch where the optimizer finds it.

        Returns:
            The loss, and what is told beside it.

        Raises:
            ValueError: If the model is not on the CPU.
            ConnectionError: If a helper has ended.
        """
        if any(p.device.type != "cpu" for p in model.parameters()):
            raise ValueError(
                "`device` must be cpu under torchrun, got another. Choose cpu, or train in one"
                " process."
            )
        with _told():
            if model is not self._model:
                _scatter([(_MODEL, (model, shared))] * self.size)
                self._model = model
            shares = shared.split(batch, self.size)
            own = _scatter([(_SHARE, share) for share in shares])
            weights = parameters_to_vector(model.parameters()).detach()
            distributed.broadcast(weights, 0)
            sums = _share_of_gradient(shared, model, own[1])
            distributed.reduce(sums, 0)
        return _put_gradient(shared, model, sums)

    def end(self) -> None:
        """Let the helpers end."""
        with contextlib.suppress(ConnectionError), _told():
            _scatter([(_END, None)] * self.size)


_team: Team | None = None


def team() -> Team | None:
    """Return the team that this process leads; None if it is alone."""
    return _team


@contextlib.contextmanager
def leading() -> Iterator[None]:
    """Lead the other processes of torchrun, if there are any, while a job runs.

    They are let go when the job ends well; when it fails, they end since its process does.
    """
    global _team
    if not is_launched():
        yield
        return
    _join()
    _team = Team()
    try:
        yield
        _team.end()
    finally:
        _team = None
    distributed.destroy_process_group()


def help_learning() -> None:
    """Compute shares of gradients for the first process until it has done its job.

    Raises:
        ConnectionError: If the first process ends before that.
    """
    # Waiting is done outside of Python, where only the system's own way to end a process works.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    _join()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    model: Any = None
    shared: Any = None
    with _told():
        while True:
            kind, told = _scatter(None)
            if kind == _END:
                break
            if kind == _MODEL:
                model, shared = told
                model.train()
                continue
            weights = parameters_to_vector(model.parameters()).detach()
            distributed.broadcast(weights, 0)
            vector_to_parameters(weights, model.parameters())
            distributed.reduce(_share_of_gradient(shared, model, told), 0)
    distributed.destroy_process_group()


def _join() -> None:
    """Meet the other processes, and import the same modules of the user's as the first."""
    # An optimizer imports this module, whose functions have the group of that moment as a default.
    # Then the group and its threads outlive `destroy_process_group`, and a thread that is busy
    # while Python ends aborts the process. Imported now, there is no group yet.
    importlib.import_module("torch.distributed.nn.functional")
    store, number, size = next(rendezvous("env://", timeout=_LONGEST))
    place = distributed.PrefixStore(_meet(store, number, size), store)
    distributed.init_process_group(
        "gloo", store=place, rank=number, world_size=size, timeout=_LONGEST
    )
    names: list[Any] = [imported_modules()]
    distributed.broadcast_object_list(names, 0)
    if rank():
        import_modules(names[0])


def _meet(store: distributed.Store, number: int, size: int) -> str:
    """Return a name that the processes which are alive now agree on.

    torchrun keeps its store when it starts processes again, and so the addresses of those that have
    ended. Under a new name none of them is found.
    """
    own = uuid.uuid4().hex
    if number == 0:
        store.set("leader", own)
        others = [store.get(f"{own}/{i}").decode() for i in range(1, size)]  # waits for each
        store.set(f"{own}/all", " ".join(others))
        return own
    while True:
        leader = store.get("leader").decode()  # perhaps one that has ended
        store.set(f"{leader}/{number}", own)
        known = f"{leader}/all"
        if store.check([known]) and own in store.get(known).decode().split():
            return leader
        time.sleep(0.05)


def _scatter(messages: list[tuple[str, Any]] | None) -> tuple[str, Any]:
    """Send each process its message, and return that of this one."""
    own: list[Any] = [None]
    distributed.scatter_object_list(own, messages, 0)
    return own[0]


def _share_of_gradient(shared: Shared, model: nn.Module, batch: Any) -> Tensor:
    """Return w ∇L, w L, w times what is told, and w of a share in one vector; zeros for none."""
    parameters = list(model.parameters())
    size = sum(p.numel() for p in parameters)
    sums = torch.zeros(size + len(shared.told) + 2, dtype=torch.float64)
    if batch is None:
        return sums
    means = shared.loss(model, batch).reshape(-1)
    weight = shared.weight(model, batch).to(torch.float64)
    gradients = torch.autograd.grad(means[0], parameters, allow_unused=True)
    flat = [
        torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)
    ]
    sums[:size] = weight * torch.cat([one.flatten().double() for one in flat])
    sums[size:-1], sums[-1] = weight * means.detach().double(), weight
    return sums


def _put_gradient(shared: Shared, model: nn.Module, sums: Tensor) -> tuple[float, dict[str, float]]:
    """Put the gradient where the optimizer finds it; return the loss and what is told beside it.

    Args:
        shared: What is learned.
        model: Who learns.
        sums: Of all shares, see `_share_of_gradient`.
    """
    means, first = sums[:-1] / sums[-1], 0
    for parameter in model.parameters():
        part = means[first : first + parameter.numel()]
        parameter.grad = part.view_as(parameter).to(parameter.dtype)
        first += parameter.numel()
    loss, *told = means[first:].tolist()
    return loss, dict(zip(shared.told, told, strict=True))


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turn what gloo says when a process has gone into one sentence."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, distributed.DistError) and "gloo" not in str(error).lower():
            raise
        raise ConnectionError(
            "Another process of torchrun has ended. With --max-restarts, torchrun starts all again,"
            " and the training goes on from its checkpoint."
        ) from error
