"""Batches shared by several processes: the gradient is that of the whole batch."""

import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import distributed

from ncp_control.learning.demonstrations import Batch
from ncp_control.learning.imitation import ImitationConfig, ImitationLoss
from ncp_control.learning.launched import is_restarted, launch_name, rank
from ncp_control.learning.team import _meet, _put_weights, _share_of_gradient, _weights
from policies.locomotion import make_policy_for


@pytest.fixture
def policy():
    from ncp_control.worlds import find_world

    torch.manual_seed(0)
    contract = find_world("gymnasium:Pendulum-v1").contract
    return make_policy_for(contract, "ltc", num_neurons=8, seed=0)


def batch_of(count, frames=6):
    generator = torch.Generator().manual_seed(1)
    mask = torch.rand(count, frames, generator=generator) < 0.7
    mask[0] = False  # a share may have nothing to count
    return Batch(
        observations=torch.randn(count, frames, 3, generator=generator),
        actions=torch.rand(count, frames, 1, generator=generator) * 2 - 1,
        dt_s=torch.full((count, frames), 0.05),
        mask=mask,
    )


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_shares_add_up_to_the_gradient_of_the_whole_batch(policy, size):
    shared, batch = ImitationLoss(ImitationConfig(turn_weight=2.0)), batch_of(5)
    loss = shared.loss(policy, batch)
    loss.backward()
    shares = shared.split(batch, size)
    assert len(shares) == size
    sums = sum(_share_of_gradient(shared, policy, share) for share in shares)
    torch.testing.assert_close(sums[-2] / sums[-1], loss.detach().double(), rtol=1e-5, atol=0)
    whole = torch.cat([
        (torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in policy.parameters()
    ])  # fmt: skip
    torch.testing.assert_close((sums[:-2] / sums[-1]).float(), whole, rtol=1e-4, atol=1e-7)


def test_weights_arrive_in_any_memory_format():
    first, second = torch.nn.Conv2d(3, 4, 5), torch.nn.Conv2d(3, 4, 5)
    first.to(memory_format=torch.channels_last)  # as in imitation
    _put_weights(second, _weights(first))
    assert torch.equal(first.weight, second.weight) and torch.equal(first.bias, second.bias)
    _put_weights(first, 2 * _weights(second))
    assert torch.equal(first.weight, 2 * second.weight)


def test_processes_that_were_started_again_do_not_meet_those_that_have_ended():
    store = distributed.HashStore()
    for size in (3, 3, 2):  # each time, what the others left is still there
        with ThreadPoolExecutor(size) as threads:
            names = list(threads.map(lambda i, size=size: _meet(store, i, size), range(size)[::-1]))
        assert len(set(names)) == 1
        assert store.add(f"rounds/{names[0]}", 1) == 1  # a name of its own


LED = """
from pathlib import Path
import torch
from ncp_control.learning.launched import rank
from ncp_control.learning.team import help_learning, leading

if rank():
    help_learning()
else:
    with leading():
        weights = torch.ones(1, requires_grad=True)
        weights.sum().backward()
        torch.optim.Adam([weights]).step()  # imports what can hold the group
print(*(task.joinpath("comm").read_text().strip() for task in Path("/proc/self/task").iterdir()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="lists threads by Linux's /proc")
def test_no_thread_of_the_group_is_left_when_the_job_has_ended():
    # A thread of gloo that is busy while Python ends aborts the process.
    with socket.create_server(("localhost", 0)) as server:
        port = str(server.getsockname()[1])
    launch = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", LED],
            env=launch | {"RANK": number, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in "01"
    ]
    told = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert not any("gloo" in threads for threads in told)


def test_a_process_alone_is_the_first_and_not_launched(monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    assert (rank(), launch_name(), is_restarted()) == (0, None, False)
