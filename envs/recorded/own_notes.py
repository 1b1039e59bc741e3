"""Extra file for facts that other formats cannot store, such as units, signs, crop and driver.

`write_lerobot`, `write_minari` and `write_tub` write the file `ncp_control.json` into the data set;
the readers of these formats read it, that of tubs only the crop.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from envs.recorded.images import Framing, framing_of_cropped
from envs.recorded.quantities import Quantity
from envs.recorded.recording import Recording
from envs.recorded.stretches import Stretch
from ncp_control.contract_parts import range_from_json, range_to_json
from ncp_control.json_files import read_json

NAME = "ncp_control"
"""Name of the file, without its suffix."""
FILE = f"meta/{NAME}.json"
"""The file in a LeRobotDataset and in a tub."""
MAX_BYTES = 2**26


@dataclass(frozen=True, kw_only=True)
class Notes:
    """Content of the file."""

    quantities: Mapping[str, Quantity] = field(default_factory=dict)
    """Quantities by their names in the format."""
    actions: tuple[str, ...] = ()
    crop: tuple[float, float] = (0.0, 0.0)
    is_cropped: bool = False
    """Whether the images were cropped before they were recorded."""
    driver: str = "human"
    declared: tuple[str, ...] = ()
    """For each written episode, the declared one of which it is a part; see `Stretch.declared`."""

    def framing(
        self, image_size: tuple[int, int], crop: tuple[float, float] | None, path: Path
    ) -> Framing:
        """Return the framing of the images; arguments as of `framing_of_cropped`."""
        if self.is_cropped:
            return framing_of_cropped(image_size, crop, self.crop, path)
        return Framing(image_size=image_size, crop=self.crop if crop is None else crop)

    def name_episodes(self, recording: Recording) -> Recording:
        """Return a recording whose declared episodes have their names from before the writing."""
        names = {str(number): name for number, name in enumerate(self.declared)}
        named = [
            replace(one, declared=names.get(one.declared, one.declared))
            for one in recording.episodes
        ]
        return replace(recording, episodes=tuple(named))


def read_notes(path: Path) -> Notes:
    """Return the content of the file; empty if it is missing or, with a warning, damaged."""
    try:
        values = read_json(path, max_bytes=MAX_BYTES)
        quantities = {
            str(key): Quantity(
                name=_word(one["name"]),
                unit=_word(one["unit"]),
                range=range_from_json(one["range"]),
                positive=_word(one["positive"]),
            )
            for key, one in values["quantities"].items()
        }
        top, bottom = (float(share) for share in values["crop"])
        Framing(image_size=(1, 1), crop=(top, bottom))
        is_cropped = values.get("is_cropped", False) is True
        actions = tuple(map(_word, values["actions"]))
        driver = _word(values["driver"])
        declared = tuple(map(_word, values.get("declared", ())))
    except FileNotFoundError:
        return Notes()
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        warnings.warn(f"'{path}' is not used: {short(error)}.", stacklevel=4)
        return Notes()
    return Notes(
        quantities=quantities,
        actions=actions,
        crop=(top, bottom),
        is_cropped=is_cropped,
        driver=driver,
        declared=declared,
    )


def read_facts(folder: Path, name: str) -> dict[str, Any]:
    """Return the content of a data set's JSON file; empty, with a warning, if it is damaged.

    Args:
        folder: Folder of the data set.
        name: Name of the file in the folder.
    """
    try:
        facts = read_json(folder / name, max_bytes=MAX_BYTES)
        if not isinstance(facts, dict):
            raise ValueError("it is no JSON object")
    except (ValueError, OSError) as error:
        warnings.warn(
            f"'{name}' of '{folder}' cannot be read ({short(error)}): numbers have no names, and"
            " all else is taken from the data.",
            stacklevel=4,
        )
        return {}
    return facts


def notes_of(
    recording: Recording, called: Mapping[str, Quantity], episodes: Sequence[Stretch]
) -> dict[str, Any]:
    """Return the content of the file for a recording, as JSON values.

    Args:
        recording: The recording.
        called: Its quantities by their names in the format.
        episodes: Its episodes as they are written.
    """
    quantities = {
        key: {
            "name": one.name,
            "unit": one.unit,
            "range": range_to_json(one.range),
            "positive": one.positive,
        }
        for key, one in called.items()
    }
    framing = recording.framing
    return {
        "quantities": quantities,
        "actions": list(recording.actions),
        "crop": [0.0, 0.0] if framing is None else list(framing.crop),
        "is_cropped": framing is not None and framing.is_cropped,
        "driver": recording.driver,
        "declared": [one.declared for one in episodes],
        "source": recording.folder.name,
    }


def _word(name: Any) -> str:
    if not isinstance(name, str) or len(name) > 200 or "\n" in name or "\0" in name:
        raise ValueError(f"a name is up to 200 letters on one line, not {str(name)[:40]!r}")
    return name


def short(error: BaseException) -> str:
    """Return the message of an error on one line, at most 120 characters."""
    message = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(message.split())[:120].rstrip(". ")
