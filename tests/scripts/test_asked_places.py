import pytest

from envs.driving.road import HELD_OUT_TRACKS, VALIDATION_TRACKS
from ncp_control.policy import load
from scripts.auditing.audit_job import _place_of
from scripts.auditing.settings import Audit
from scripts.evaluation.asked import find_places, place_to_film
from scripts.evaluation.settings import Evaluate

ASKED = ("tracks=validation", "randomize_appearance=false")


def places_of(**settings):
    asked = Evaluate(policy="drive-ncp", km=0.4, **settings)
    places = find_places(load("drive-ncp"), asked)
    return places, place_to_film(places, asked, 1.0)


def road_of(place):
    """Return the number of a place's first track, and whether its looks are drawn."""
    env = place.disturbed.make()
    _, info = env.reset(seed=place.seeds[0], options=place.options[0])
    randomized = env.unwrapped.config.randomize_appearance
    env.close()
    return info["track"], randomized


def test_a_driver_of_lanes_is_measured_filmed_and_audited_where_was_asked():
    (place,), shown = places_of(world_options=ASKED)
    for one in (place, shown):
        assert road_of(one) == (VALIDATION_TRACKS[0], False)
    audited = _place_of(load("drive-ncp"), Audit(policy="drive-ncp", world_options=ASKED[1:]))
    assert road_of(audited) == (HELD_OUT_TRACKS[0], False)
    with pytest.raises(ValueError, match="`world_options` must leave out tracks in an audit"):
        _place_of(load("drive-ncp"), Audit(policy="drive-ncp", world_options=ASKED))
    with pytest.raises(ValueError, match="must leave out camera .* got 'mujoco'. It is --camera"):
        places_of(world_options=("camera=mujoco",))
    assert "tracks=validation randomize_appearance=False" in place.described


def test_a_driver_of_lanes_is_measured_on_held_out_tracks_if_nothing_is_asked():
    (place,), shown = places_of()
    for one in (place, shown):
        assert road_of(one) == (HELD_OUT_TRACKS[0], True)
    assert place.described == "opencv noise=0 km=0.4"


def test_the_film_of_a_drive_is_disturbed_if_there_is_one_place():
    for asked, shown_in in (
        ({"noise": (0.3,)}, "noise 0.3"),
        ({"condition": ("fog:3",)}, ""),  # driven clean as well
        ({"noise": (0.0, 0.3)}, ""),
    ):
        assert places_of(**asked)[1].disturbed_by == shown_in


@pytest.mark.parametrize("option", ["on_crash=terminate", "episode_s=3"])
def test_what_a_measured_drive_sets_itself_is_refused(option):
    with pytest.raises(ValueError, match="must leave out .* where LaneKeeping-v0 is measured, got"):
        places_of(world_options=(option,))
    with pytest.raises(ValueError, match="must leave out .* where LaneKeeping-v0 is measured, got"):
        _place_of(load("drive-ncp"), Audit(policy="drive-ncp", world_options=(option,)))
    with pytest.raises(ValueError, match="`option of LaneKeeping-v0` must be one of"):
        _place_of(load("drive-ncp"), Audit(policy="drive-ncp", world_options=("wind=3",)))
