"""Let the expert, which knows the full state, drive RoadDriving-v0, and print its metrics.

    python examples/road_expert.py                        about 5 km in full traffic
    python examples/road_expert.py --km 100 --traffic light --friction 0.5 1.0

To evaluate your own driver, put it in place of `world.expert`.
"""

import argparse

import envs  # noqa: F401 - registers the world
from ncp_control.acting.recorder import iterate_episodes
from ncp_control.worlds import find_world


def main(words: list[str] | None = None) -> dict[str, float]:
    """Drive held-out tracks, a minute on each, until the distance is reached; return metrics."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--km", type=float, default=5.0)
    parser.add_argument("--traffic", default="full")
    parser.add_argument("--friction", type=float, nargs="+", default=[1.0])
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(words)
    world = find_world(
        "RoadDriving-v0",
        camera="none",  # the expert does not use frames
        traffic=asked.traffic,
        friction=asked.friction,
        tracks="held_out",
        on_crash="recover",
    )
    seeds = range(1_000_000 * asked.seed, 1_000_000 * (asked.seed + 1))
    episodes, driven_km = [], 0.0
    for episode in iterate_episodes(
        world, None, seeds=seeds, parallel=1, expert=world.expert, num_steps=world.max_steps
    ):
        episodes.append(episode)
        driven_km += float(episode.infos["distance_m"][-1]) / 1000.0
        print(f"{driven_km:.1f} km, interventions: {episode.infos['crashed'].sum()}", flush=True)
        if driven_km >= asked.km:
            break
    measures = world.measure(episodes)
    for name, value in measures.items():
        print(f"{name:26} {value:.4g}")
    return measures


if __name__ == "__main__":
    main()
