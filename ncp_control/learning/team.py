"""Data-parallel training: several processes train one policy, each on a share of every batch.

`torchrun --nproc-per-node N scripts/train.py …` starts N processes. The first process runs the job:
it alone reads data, runs environments, validates and writes files. The other processes (helpers)
only compute gradients. In each step, the first process sends them the weights and their shares of
the batch. For share r with loss L_r and weight w_r (the divisor of its mean loss), a process
returns w_r ∇L_r:

    ∇L = Σ_r w_r ∇L_r / Σ_r w_r

This is the gradient of the whole batch, except for rounding. If one process ends before the job is
done, torchrun ends the others. With `--max-restarts` it restarts all processes, and the job resumes
its run.
"""

import contextlib
import importlib
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

from ncp_control.imports import import_modules, imported_modules
from ncp_control.learning.launched import is_launched, rank
from ncp_control.workers import even_shares

_LONGEST = timedelta(days=30)
"""Maximum time that a helper waits, e.g. while the first process runs environments."""
_MODEL, _SHARE, _END = "model", "share", "end"


class Shared(Protocol):
    """Interface of a loss whose batches can be shared by processes; must be picklable."""

    metric_names: ClassVar[tuple[str, ...]]
    """Names of the metrics that `loss` returns after the loss."""

    def loss(self, model: Any, batch: Any) -> Tensor:
        """Return the mean loss of a batch: a scalar, or a vector of the loss and the metrics."""
        ...

    def weight(self, model: Any, batch: Any) -> Tensor:
        """Return the divisor of these means, which is the weight of a share of a batch."""
        ...

    def split(self, batch: Any, count: int) -> list[Any]:
        """Return `count` shares of a batch, in order; None for shares without data."""
        ...


def shares(batch: Any, count: int) -> list[dict[str, Tensor] | None]:
    """Split the tensors of a batch into shares of whole rows; None for shares without rows.

    Args:
        batch: Dataclass of tensors, all with the same number of rows.
        count: Number of shares; their sizes are as equal as possible.
    """
    tensors: dict[str, Tensor] = vars(batch)
    rows = len(next(iter(tensors.values())))
    return [
        # Copies, since sending a view would send the whole tensor.
        {name: values[share].clone() for name, values in tensors.items()}
        if share.start < share.stop
        else None
        for share in even_shares(rows, count)
    ]


class Team:
    """The processes started by torchrun, from the point of view of the first process."""

    def __init__(self) -> None:
        self.size = distributed.get_world_size()
        self._model: nn.Module | None = None

    def take_gradient(
        self, shared: Shared, model: nn.Module, batch: Any
    ) -> tuple[float, dict[str, float]]:
        """Compute the gradient of a batch with all processes; store it in `grad` of the parameters.

        Returns:
            The loss, and the metrics by name.

        Raises:
            ValueError: If the model is not on the CPU.
            ConnectionError: If a helper has ended.
        """
        if any(p.device.type != "cpu" for p in model.parameters()):
            raise ValueError(
                "`device` must be cpu under torchrun, got another. Choose cpu, or train in one"
                " process."
            )
        with _clear_errors():
            if model is not self._model:
                _scatter([(_MODEL, (model, shared))] * self.size)
                self._model = model
            shares = shared.split(batch, self.size)
            own = _scatter([(_SHARE, share) for share in shares])
            distributed.broadcast(_weights(model), 0)
            sums = _share_of_gradient(shared, model, own[1])
            distributed.reduce(sums, 0)
        return _put_gradient(shared, model, sums)

    def end(self) -> None:
        """Tell the helpers to end."""
        with contextlib.suppress(ConnectionError), _clear_errors():
            _scatter([(_END, None)] * self.size)


_team: Team | None = None


def team() -> Team | None:
    """Return the team that this process leads; None if there are no other processes."""
    return _team


@contextlib.contextmanager
def leading() -> Iterator[None]:
    """Context in which this process leads the other processes of torchrun, if there are any.

    If the block succeeds, the helpers are told to end. If it fails, they end because this process
    ends.
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
    """Compute shares of gradients for the first process until its job is done.

    Raises:
        ConnectionError: If the first process ends before that.
    """
    # The process waits in C++ code, where only the default signal handlers can end it.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    _join()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    model: Any = None
    shared: Any = None
    with _clear_errors():
        while True:
            kind, content = _scatter(None)
            if kind == _END:
                break
            if kind == _MODEL:
                model, shared = content
                model.train()
                continue
            weights = _weights(model)
            distributed.broadcast(weights, 0)
            _put_weights(model, weights)
            distributed.reduce(_share_of_gradient(shared, model, content), 0)
    distributed.destroy_process_group()


def _join() -> None:
    """Join the process group, and import the same user modules as the first process."""
    # An optimizer imports this module, and its functions keep the process group that exists at that
    # time as a default argument. The group and its threads would then outlive
    # `destroy_process_group`, and a thread that is busy while Python exits aborts the process. If
    # the module is imported here, there is no group yet.
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
    """Return a unique name on which all running processes agree.

    When torchrun restarts processes, its store still holds the addresses of the ended ones. A new
    name, used as prefix, hides these addresses.
    """
    own = uuid.uuid4().hex
    if number == 0:
        store.set("leader", own)
        others = [store.get(f"{own}/{i}").decode() for i in range(1, size)]  # waits for each
        store.set(f"{own}/all", " ".join(others))
        return own
    while True:
        leader = store.get("leader").decode()  # may be a process that has ended
        store.set(f"{leader}/{number}", own)
        known = f"{leader}/all"
        if store.check([known]) and own in store.get(known).decode().split():
            return leader
        time.sleep(0.05)


def _scatter(messages: list[tuple[str, Any]] | None) -> tuple[str, Any]:
    """Send each process its message (first process only); return this process's message."""
    own: list[Any] = [None]
    distributed.scatter_object_list(own, messages, 0)
    return own[0]


def _weights(model: nn.Module) -> Tensor:
    """Return all weights of a model in one vector, whatever their memory format."""
    return torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()])


def _put_weights(model: nn.Module, weights: Tensor) -> None:
    """Copy a vector of `_weights` into the parameters of a model."""
    parameters = list(model.parameters())
    parts = weights.split([parameter.numel() for parameter in parameters])
    with torch.no_grad():
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.copy_(part.view_as(parameter))


def _share_of_gradient(shared: Shared, model: nn.Module, batch: Any) -> Tensor:
    """Return w ∇L, w L, w times the metrics, and w of a share in one vector; zeros if no share."""
    parameters = list(model.parameters())
    size = sum(p.numel() for p in parameters)
    sums = torch.zeros(size + len(shared.metric_names) + 2, dtype=torch.float64)
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
    """Store the gradient in `grad` of the parameters; return the loss and the metrics.

    Args:
        shared: The loss.
        model: The model.
        sums: Sum of `_share_of_gradient` over all shares.
    """
    means, first = sums[:-1] / sums[-1], 0
    for parameter in model.parameters():
        part = means[first : first + parameter.numel()]
        parameter.grad = part.view_as(parameter).to(parameter.dtype)
        first += parameter.numel()
    loss, *metrics = means[first:].tolist()
    return loss, dict(zip(shared.metric_names, metrics, strict=True))


@contextlib.contextmanager
def _clear_errors() -> Iterator[None]:
    """Replace the errors that gloo raises when a process has ended by a clear ConnectionError."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, distributed.DistError) and "gloo" not in str(error).lower():
            raise
        raise ConnectionError(
            "Another process of torchrun has ended. With --max-restarts, torchrun starts all again,"
            " and the training goes on from its checkpoint."
        ) from error
