"""The number of neurons whose policy has a given number of parameters."""

import pytest
import torch

from policies.locomotion import make_vector_policy
from scripts.training.imitation_settings import Imitate
from scripts.training.recorded_settings import Recorded
from scripts.training.sized import nearest


def make_of(cell):
    def make(neurons):
        sizes = {"observation_size": 3, "num_joints": 1, "num_neurons": neurons}
        return make_vector_policy(cell, **sizes, frame_s=0.1)

    return make


def lstm_parameters(units):
    """Count the gates, with two biases, and the readout."""
    return 4 * units * (3 + units + 2) + units + 1


@pytest.mark.parametrize("wanted", [1, 26, 60, 5000, 5153])
def test_no_other_number_of_units_comes_nearer(wanted):
    found = nearest(make_of("lstm"), wanted)
    errors = [abs(lstm_parameters(units) - wanted) for units in range(1, 60)]
    assert abs(lstm_parameters(found) - wanted) == min(errors)


def test_a_wired_circuit_has_at_least_the_neurons_that_it_needs():
    with pytest.raises(ValueError, match="`num_neurons` must be at least 6"):
        make_of("ltc")(5)
    assert nearest(make_of("ltc"), 1) == 6


def test_the_weights_do_not_depend_on_what_was_tried():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    nearest(make_of("cfc"), 5000)
    torch.testing.assert_close(torch.get_rng_state(), before)


def test_an_error_of_every_size_is_told_as_it_is():
    def make(neurons):
        raise ValueError("`reads` must be left out")

    with pytest.raises(ValueError, match="`reads` must be left out"):
        nearest(make, 1000)


def test_either_neurons_or_parameters_say_how_large_a_policy_is(tmp_path):
    told = "`neurons` must be left out with --parameters, got 8. Either says how large"
    with pytest.raises(ValueError, match=told):
        Imitate(world="Pendulum-v1", neurons=8, parameters=1000)
    with pytest.raises(ValueError, match=told):
        Recorded(log=(tmp_path,), neurons=8, parameters=1000)
    with pytest.raises(ValueError, match="`parameters` must be a whole number of at least 1"):
        Recorded(log=(tmp_path,), parameters=0)
    with pytest.raises(ValueError, match="`parameters` must be left out with --policy, got 1000"):
        Imitate(world="Pendulum-v1", policy=tmp_path, parameters=1000)


def test_a_policy_of_quite_another_size_comes_with_a_warning():
    sized = Imitate(world="Pendulum-v1", parameters=10)
    with pytest.warns(UserWarning, match=r"`parameters` is 10, but the nearest policy has 26\."):
        sized.build(make_of("lstm"))
