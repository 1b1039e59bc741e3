"""Appearance of the driving environments: colours, light, road markings and shadows.

The default appearance is fixed. `Appearance.random` draws another one, so that a policy cannot rely
on a colour or a kind of marking. Colours are sRGB in [0, 255]; light is a factor on all colours.
"""

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Appearance:
    """Colours and sizes of the ground, the markings and the sky."""

    grass_rgb: Colour = (96.0, 124.0, 62.0)
    """Mean colour of the ground beside the road."""
    asphalt_rgb: Colour = (92.0, 93.0, 96.0)
    """Mean colour of the road."""
    edge_rgb: Colour = (232.0, 232.0, 226.0)
    """Colour of the two edge lines."""
    centre_rgb: Colour = (222.0, 184.0, 70.0)
    """Colour of the dashes on the centre line."""
    edge_width_m: float = 0.15
    """Width of an edge line, which is centred on the border of the lane."""
    centre_width_m: float = 0.12
    """Width of the dashes."""
    dash_length_m: float = 3.0
    """Length of a dash; 0 paints no dashes."""
    dash_gap_m: float = 4.5
    """Gap between dashes."""
    shoulder_m: float = 0.5
    """Asphalt beyond the border of the lane."""
    sky_rgb: Colour = (92.0, 146.0, 206.0)
    """Colour of the sky overhead."""
    haze_rgb: Colour = (206.0, 220.0, 232.0)
    """Colour of the sky at the horizon, into which distant ground fades."""
    gain: float = 1.0
    """Brightness: a factor on every colour."""
    num_shadows: int = 0
    """Number of shadows across the road, spread over the lap."""
    shadow_gain: float = 0.55
    """Brightness inside a shadow, relative to outside."""
    pattern_seed: int = 0
    """Seed of the places and shapes of the shadows."""

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Appearance":
        """Draw an appearance: season, time of day, road surface and kind of marking.

        Args:
            rng: Generator to draw from. The number of draws is always the same.

        Returns:
            An appearance in which a person can still see the lane.
        """
        greenness, dryness = rng.uniform(0.0, 1.0, 2)
        grass_rgb = _mix(_mix((70, 100, 48), (104, 140, 60), greenness), (158, 138, 92), dryness**2)
        grey, warmth = rng.uniform(62.0, 126.0), rng.uniform(-6.0, 6.0)
        edge_level, overcast = rng.uniform(205.0, 245.0), rng.uniform(0.0, 1.0)
        is_centre_white, has_dashes, has_shadows = rng.random(3) < (0.4, 0.7, 0.6)
        edge_rgb = (edge_level, edge_level, edge_level - rng.uniform(0.0, 30.0))
        return cls(
            grass_rgb=grass_rgb,
            asphalt_rgb=(grey + warmth, grey, grey - warmth),
            edge_rgb=edge_rgb,
            centre_rgb=edge_rgb if is_centre_white else (222.0, 184.0, 70.0),
            edge_width_m=rng.uniform(0.10, 0.22),
            centre_width_m=rng.uniform(0.09, 0.16),
            dash_length_m=rng.uniform(1.5, 4.0) if has_dashes else 0.0,
            dash_gap_m=rng.uniform(2.5, 6.0),
            shoulder_m=rng.uniform(0.25, 0.9),
            sky_rgb=_mix((92, 146, 206), (178, 186, 194), overcast),
            haze_rgb=_mix((206, 220, 232), (200, 204, 208), overcast),
            gain=rng.uniform(0.65, 1.12),
            num_shadows=int(rng.integers(6, 30)) if has_shadows else 0,
            shadow_gain=rng.uniform(0.45, 0.75),
            pattern_seed=int(rng.integers(2**31)),
        )


def _mix(first: Colour, second: Colour, share: float) -> Colour:
    red, green, blue = (a + (b - a) * share for a, b in zip(first, second, strict=True))
    return (red, green, blue)
