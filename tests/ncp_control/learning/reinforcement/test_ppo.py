import pytest

from ncp_control.learning.reinforcement.ppo import SequencePPO


@pytest.fixture
def saved(tmp_path, liquid, learner):
    learner(liquid()).save(tmp_path / "model.zip")
    return tmp_path / "model.zip"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_steps": 50}, "`sequence_length` must divide the 50 steps .* the 48 of .* Choose 2 or"),
        ({"batch_size": 50}, "`sequence_length` must divide the 60 steps of a rollout and the 50"),
        ({"batch_size": None}, "`batch_size` must be a whole number of at least 1, got None"),
        ({"n_steps": 0}, "`n_steps` must be a whole number of at least 1, got 0"),
        ({"n_steps": 60.0}, "`n_steps` must be a whole number of at least 1, got 60.0"),
        ({"sequence_length": 0}, "`sequence_length` must be a whole number of at least 1, got 0"),
        ({"critic_first_steps": -1}, "`critic_first_steps` must be a whole number of at least 0"),
        ({"learning_rate": 1e30}, "`learning_rate` must be positive and at most 1000"),
        ({"learning_rate": -1.0}, "`learning_rate` must be positive and at most 1000, got -1"),
        ({"learning_rate": float("nan")}, "`learning_rate` must be positive .*, got nan"),
        ({"learning_rate": lambda _: 1e30}, "`learning_rate` must be positive and at most 1000"),
    ],
)
def test_settings_that_do_not_fit_are_refused_when_built_and_when_loaded(
    saved, liquid, carts, changes, message
):
    with pytest.raises(ValueError, match=message):
        SequencePPO.load(saved, env=carts(), **changes)
    settings = {"sequence_length": 12, "n_steps": 60, "batch_size": 48, "n_epochs": 2, **changes}
    with pytest.raises(ValueError, match=message):
        SequencePPO(carts(), policy_kwargs={"cell": liquid()}, **settings)


@pytest.mark.parametrize("scale", [0.0, -1.0, 1e30, float("nan")])
def test_an_impossible_scale_of_the_actors_rate_is_refused(liquid, learner, scale):
    with pytest.raises(ValueError, match="`actor_lr_scale` must be positive and at most 1000"):
        learner(liquid(), actor_lr_scale=scale)
