import pytest
import torch

from ncp_control import LTC, Circuit, Policy, auto_ncp
from ncp_control.cells import cell_from_config, cell_to_config


class FlatPolicy(Policy):
    """Observations are the circuit's inputs."""

    def perceive(self, observation):
        return observation

    def to_config(self):
        return {"cell": cell_to_config(self.circuit.cell)}

    @classmethod
    def from_config(cls, config):
        return cls(Circuit(cell_from_config(config["cell"])))


@pytest.fixture
def flat_policy():
    """The simplest policy there is, to be built around any circuit."""
    return FlatPolicy


@pytest.fixture
def gpu_generator(monkeypatch):
    """The generator that torch finds for any GPU: one of the CPU stands in for it."""
    generator = torch.Generator().manual_seed(1)
    patches = {
        "get_rng_state": lambda device: generator.get_state(),
        "set_rng_state": lambda state, device: generator.set_state(state),
    }
    for name, stand_in in patches.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    return generator


@pytest.fixture
def tiny_policy(flat_policy):
    return flat_policy(Circuit(LTC(auto_ncp(2, 12, 1), unfolds=2)))
