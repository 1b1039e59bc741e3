"""Eighteen faults of a camera or a car ("conditions"), each with a severity from 1 to 5.

Modelled on ImageNet-C (Hendrycks & Dietterich 2019, arXiv 1903.12261): a higher severity is a
stronger fault, and all randomness comes from a seed. Most conditions change the frames of any world
that shows frames; three change how actions take effect.

| name       | what happens                                             | severity 1 to 5      |
|------------|----------------------------------------------------------|----------------------|
| `noise`    | Gaussian noise in every pixel                            | variance 0.02 to 0.3 |
| `night`    | dark except in the headlights                            | light 0.5 to 0.08    |
| `fog`      | grey that thickens with the distance                     |                      |
| `rain`     | streaks, and less contrast                               |                      |
| `sun`      | a low sun, and its reflections in the lens               |                      |
| `shadows`  | shadows pass over the ground                             | light 0.75 to 0.22   |
| `worn`     | markings are worn or missing                             | 35 to 100 % gone     |
| `wet`      | the road is dark and mirrors the sky                     |                      |
| `blur`     | motion blur                                              | 1.5 to 12 % of width |
| `dirt`     | blots on the lens                                        | 6 to 42 % covered    |
| `shake`    | the camera is tilted and shaken                          | roll 0.5 to 4°       |
| `exposure` | the exposure jumps                                       | factor 1.3 to 4.2    |
| `blackout` | black frames, once in 5 s                                | for 0.1 to 2 s       |
| `frozen`   | the same frame, once in 5 s                              | for 0.1 to 2 s       |
| `lost`     | frames are lost; the previous one is shown again         | share 0.1 to 0.5     |
| `delay`    | actions take effect late                                 | 1 to 6 frames        |
| `wind`     | steady wind and gusts (each this much) push entry 0      | 1 to 7 % of range    |
| `gain`     | the action's first entry acts more or less than it says  | factor 1.15 to 2     |
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from envs.conditions import pictures
from envs.conditions.draws import Scene, at
from envs.conditions.pictures import Effect
from ncp_control.names import check_name

Begin = Callable[[int, Scene], Effect]
"""Function from severity and scene to the effect on the frames of one episode."""

PICTURES: dict[str, Begin] = {
    name: getattr(pictures, name)
    for name in (
        "noise", "night", "fog", "rain", "sun", "shadows", "worn", "wet", "blur", "dirt", "shake",
        "exposure", "blackout", "frozen", "lost",
    )
}  # fmt: skip
"""Conditions that change frames: the function of each by name."""
ACTIONS = ("delay", "wind", "gain")
"""Names of the conditions that change how actions take effect."""
CONDITIONS = (*PICTURES, *ACTIONS)
"""Names of all conditions."""
SEVERITIES = (1, 2, 3, 4, 5)


def read_conditions(
    words: Sequence[str], known: Collection[str] = CONDITIONS, *, setting: str = "condition"
) -> list[tuple[str, int]]:
    """Read conditions from the command line: fog:3, fog:1-3, fog for 1-5, all or all:1-3.

    Args:
        words: Words of the command line.
        known: Allowed names.
        setting: Name of the setting, for error messages.

    Returns:
        Pairs of name and severity, in order, without duplicates.

    Raises:
        ValueError: If a name or a severity is unknown.
    """
    read: list[tuple[str, int]] = []
    for word in words:
        name, colon, span = word.partition(":")
        if name != "all":
            check_name(setting, name, [*known, "all"])
        first, dash, last = (span if colon else "1-5").partition("-")
        last = last if dash else first
        numbers = [str(severity) for severity in SEVERITIES]
        if first not in numbers or last not in numbers[numbers.index(first) :]:
            raise ValueError(
                f"`{setting}` must be a name, with a severity from 1 to 5 if not all are meant,"
                f" e.g. fog, fog:3 or fog:1-3, got {word!r}."
            )
        severities = SEVERITIES[int(first) - 1 : int(last)]
        names = known if name == "all" else (name,)
        read += [(one, severity) for one in names for severity in severities]
    return list(dict.fromkeys(read))


def strengths_of(name: str, severity: int) -> Mapping[str, float]:
    """Return name and strength of the world's disturbance that applies a condition."""
    if name == "noise":
        return {"noise": at(severity, *pictures.NOISE_VARIANCES)}
    if name == "delay":
        return {"delay": at(severity, 1, 2, 3, 4, 6)}
    return {name: severity}
