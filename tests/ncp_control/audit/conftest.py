import numpy as np
import pytest
import torch

from ncp_control import LTC, NCP19, Circuit, Policy


class ConvPolicy(Policy):
    """Three convolutions with ReLUs, summed into one number for each map."""

    def __init__(self, cell, layers):
        super().__init__(Circuit(cell))
        self.layers = layers

    def perceive(self, observation):
        pixels = observation.to(next(self.parameters()).dtype).permute(0, 3, 1, 2)
        return self.layers(pixels).sum((2, 3))


@pytest.fixture
def conv_policy():
    return ConvPolicy


@pytest.fixture
def recorded():
    """The 19-neuron circuit on 120 frames of slowly varying random inputs."""
    torch.manual_seed(0)
    circuit = Circuit(LTC(NCP19))
    walk = np.cumsum(np.random.default_rng(0).normal(size=(1, 120, 32)), axis=1)
    inputs = torch.tensor(0.3 * walk, dtype=torch.float32)
    return circuit, inputs, circuit.record(inputs)
