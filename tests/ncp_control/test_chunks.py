"""Sequences in chunks: outputs and gradients of the whole, memory of one chunk, weights of then."""

import ctypes
import resource
import sys
from pathlib import Path

import pytest
import torch
from torch.func import functional_call
from torch.nn.utils import prune

from ncp_control import LSTM, LTC, NCP19, CfC, Circuit, auto_ncp, chunks
from ncp_control.chunks import run_in_chunks
from ncp_control.generators import drawn_from, generator_states
from tests.ncp_control.every_cell import CELLS


def random_sequence(circuit: Circuit, batch: int, steps: int) -> dict[str, torch.Tensor]:
    """Return the arguments of a circuit, in double precision, with leaves."""
    cell = circuit.cell
    return {
        "inputs": torch.randn(batch, steps, cell.input_size).double().requires_grad_(),
        "state": (0.4 * torch.randn(batch, cell.state_size)).double().requires_grad_(),
        "dt_s": 0.06 * torch.rand(batch, steps).double(),
        "reset": torch.rand(batch, steps) < 0.1,
    }


def results(circuit, sequence, **options) -> dict[str, torch.Tensor]:
    """Return outputs, the last state, and every gradient."""
    outputs, last = circuit(**sequence, **options)
    leaves = {"inputs": sequence["inputs"], "state": sequence["state"]}
    leaves |= dict(circuit.named_parameters())
    gradients = torch.autograd.grad(
        outputs.square().sum() + last.sum(), list(leaves.values()), allow_unused=True
    )
    found = {name: g for name, g in zip(leaves, gradients, strict=True) if g is not None}
    return {"outputs": outputs, "last": last} | found


@pytest.mark.parametrize("name", CELLS)
def test_chunks_give_the_outputs_and_every_gradient_of_the_whole(name):
    torch.manual_seed(0)
    circuit = Circuit(CELLS[name]()).double()
    sequence = random_sequence(circuit, 3, 11)
    whole, parts = results(circuit, sequence), results(circuit, sequence, chunk=4)
    assert whole.keys() == parts.keys()
    for key, value in whole.items():
        scale = value.abs().max().clamp(min=1.0)
        assert ((parts[key] - value).abs().max() / scale).item() <= 1e-12, key


@pytest.mark.parametrize("chunk", [1, 11, 100])
def test_a_chunk_may_be_one_frame_or_more_than_all(chunk):
    circuit = Circuit(LTC(auto_ncp(4, 9, 2))).double()
    sequence = random_sequence(circuit, 2, 11)
    expected, found = results(circuit, sequence), results(circuit, sequence, chunk=chunk)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def kept_bytes(circuit: Circuit, **options) -> int:
    """Return by how much the process has grown between forward and backward pass."""
    inputs = torch.randn(16, 4096, circuit.cell.input_size)
    circuit(inputs[:, :128], **options)[0].sum().backward()  # all that a first time costs
    before = resident_bytes()
    outputs, _ = circuit(inputs, **options)
    grown = resident_bytes() - before
    outputs.sum().backward()
    return grown


def resident_bytes() -> int:
    ctypes.CDLL(None).malloc_trim(0)  # or else memory that is free counts, too
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("make", [lambda: LTC(NCP19), lambda: CfC(32, 19, 1)])
def test_nothing_of_a_chunk_is_kept_until_it_is_led_back(make):
    circuit = Circuit(make())
    chunked = kept_bytes(circuit, chunk=64)
    assert chunked < kept_bytes(circuit) / 5


def test_the_weights_of_a_functional_call_are_those_of_its_gradient():
    circuit = Circuit(LTC(auto_ncp(4, 9, 2))).double()
    others = {name: p.detach() + 0.1 for name, p in circuit.named_parameters()}
    found = {}
    for chunk in (None, 3):
        weights = {name: value.clone().requires_grad_() for name, value in others.items()}
        torch.manual_seed(0)
        inputs = torch.randn(2, 8, 4).double()
        outputs, _ = functional_call(circuit, weights, (inputs,), {"chunk": chunk})
        outputs.square().sum().backward()
        found[chunk] = {name: value.grad for name, value in weights.items()}
    torch.testing.assert_close(found[3], found[None], rtol=0, atol=1e-12)


def test_half_precision_learns_in_chunks_too():
    circuit = Circuit(LSTM(4, 9, 2)).bfloat16()
    inputs = torch.randn(2, 8, 4)
    gradients = {}
    for chunk in (None, 3):
        circuit.zero_grad()
        circuit(inputs, chunk=chunk)[0].sum().backward()
        gradients[chunk] = {name: p.grad.clone() for name, p in circuit.named_parameters()}
    torch.testing.assert_close(gradients[3], gradients[None], rtol=0.02, atol=0.02)


def test_a_weight_changed_before_the_backward_pass_is_noticed():
    circuit = Circuit(LTC(auto_ncp(4, 9, 2)))
    outputs, _ = circuit(torch.randn(2, 8, 4), chunk=3)
    with torch.no_grad():
        circuit.cell.slope += 1.0
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outputs.sum().backward()


def test_a_cell_that_draws_numbers_draws_the_same_again():
    class Noisy(LSTM):
        def sequence(self, *arguments):
            outputs, last = super().sequence(*arguments)
            return torch.nn.functional.dropout(outputs, 0.5), last

    inputs, gradients, drawn = torch.randn(2, 8, 4), [], []
    circuit = Circuit(Noisy(4, 9, 2))
    for chunk in (None, 8):
        torch.manual_seed(0)
        outputs, _ = circuit(inputs, chunk=chunk)
        drawn.append(torch.rand(()))
        gradients.append(torch.autograd.grad(outputs.sum(), circuit.cell.output.weight)[0])
    torch.testing.assert_close(gradients[1], gradients[0])
    assert drawn[0] == drawn[1] and gradients[0].any()


def test_a_cell_on_a_gpu_draws_the_same_again(gpu_generator, monkeypatch):
    class Noisy(LSTM):
        def sequence(self, *arguments):
            outputs, last = super().sequence(*arguments)
            return outputs * torch.rand(outputs.shape, generator=gpu_generator), last

    inputs, gradients, drawn, gpu = torch.randn(2, 8, 4), [], [], torch.device("cuda", 0)
    monkeypatch.setattr(chunks, "generator_states", lambda device: generator_states(gpu))
    monkeypatch.setattr(chunks, "drawn_from", lambda states, device: drawn_from(states, gpu))
    circuit = Circuit(Noisy(4, 9, 2))
    for chunk in (None, 8):
        gpu_generator.manual_seed(0)
        outputs, _ = circuit(inputs, chunk=chunk)
        gradients.append(torch.autograd.grad(outputs.sum(), circuit.cell.output.weight)[0])
        drawn.append(torch.rand((), generator=gpu_generator))  # after the backward pass
    torch.testing.assert_close(gradients[1], gradients[0])
    assert drawn[0] == drawn[1] and gradients[0].any()


def test_weights_that_pruning_finds_before_each_call_are_refused():
    circuit = Circuit(LTC(auto_ncp(4, 9, 2)))
    prune.l1_unstructured(circuit.cell, "raw_weight", amount=0.5)
    with pytest.raises(ValueError, match="`chunk` must be left out for a cell whose 'raw_weight'"):
        circuit(torch.randn(2, 8, 4), chunk=3)


@pytest.mark.parametrize("chunk", [0, -1, 2.5, True])
def test_impossible_chunks(chunk):
    circuit = Circuit(LSTM(4, 9, 2))
    with pytest.raises((ValueError, TypeError), match="`chunk` must be"):
        circuit(torch.randn(2, 8, 4), chunk=chunk)


def test_there_may_be_nothing_to_do():
    cell = LSTM(4, 9, 2)
    inputs, state, dt_s = torch.randn(2, 0, 4), torch.randn(2, 18), torch.zeros(2, 0)
    outputs, last = run_in_chunks(cell, inputs, state, dt_s, None, 5)
    assert outputs.shape == (2, 0, 2) and torch.equal(last, state)
