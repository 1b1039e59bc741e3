"""Human driving logs as demonstrations.

| format                    | loader           | recognised by     | image              |
|---------------------------|------------------|-------------------|--------------------|
| Udacity driving simulator | `load_udacity`   | `driving_log.csv` | three cameras      |
| Donkeycar tub, version 2  | `load_donkeycar` | `manifest.json`   | one camera         |
| Donkeycar tub, version 1  | `load_donkeycar` | `record_N.json`   | one camera         |

`load_recording` tells them apart. A `Recording` is light: it knows where the images are, and reads
them when it writes itself into a `DemonstrationWriter`:

    train, test = load_recording("my_drive").split(0.8)
    with DemonstrationWriter("train", train.observation_shape) as writer:
        train.write(writer)

Steering is a fraction of the maximum angle in [-1, 1] and **left is positive**, as in the
`LaneKeeping` world; both formats log the opposite sign and are converted.

Logs are rarely whole. Lines, records and images that cannot be used are left out, and one warning
says how many and why; `Recording.skipped` has the counts. A recording is refused if nothing of it
can be used, or if what is left would be wrong.
"""

from pathlib import Path

from envs.recorded.assembly import check_folder
from envs.recorded.donkeycar import MANIFEST_FILE, META_FILE, is_tub, load_donkeycar
from envs.recorded.recording import Episode, Recording
from envs.recorded.udacity import LOG_FILE, load_udacity

__all__ = ["Episode", "Recording", "load_donkeycar", "load_recording", "load_udacity"]


def load_recording(
    folder: str | Path,
    *,
    side_steering_offset: float = 0.2,
    image_size: tuple[int, int] = (78, 200),
    crop: tuple[float, float] | None = None,
    max_gap_s: float = 1.0,
    max_missing_frames: int = 3,
) -> Recording:
    """Load a recording of either format.

    Args:
        folder: Folder of the recording, or its `driving_log.csv`, `manifest.json` or `meta.json`.
        side_steering_offset: See `load_udacity`; a Donkeycar has no side cameras.
        image_size: Height and width of an observation [pixels].
        crop: Share of the height cut off at the top and at the bottom; None for the format's own.
        max_gap_s: A longer time between two frames begins a new episode [s].
        max_missing_frames: More missing frames in a row begin a new episode.

    Returns:
        The recording.

    Raises:
        FileNotFoundError: If the folder does not exist.
        NotADirectoryError: If it is another file.
        ValueError: If it holds neither format, or nothing of it can be used.
    """
    folder = Path(folder)
    if folder.name in (LOG_FILE, MANIFEST_FILE, META_FILE) and folder.is_file():
        folder = folder.parent
    check_folder(folder)
    crop_setting = {} if crop is None else {"crop": crop}
    if (folder / LOG_FILE).is_file():
        return load_udacity(
            folder,
            side_steering_offset=side_steering_offset,
            image_size=image_size,
            max_gap_s=max_gap_s,
            max_missing_frames=max_missing_frames,
            **crop_setting,
        )
    if is_tub(folder):
        return load_donkeycar(
            folder,
            image_size=image_size,
            max_gap_s=max_gap_s,
            max_missing_frames=max_missing_frames,
            **crop_setting,
        )
    raise ValueError(
        f"`folder` must hold a {LOG_FILE} (Udacity simulator), a {MANIFEST_FILE} (Donkeycar tub v2)"
        f" or record_N.json (tub v1), got '{folder}' with none of them."
        f" {_advice(folder)}"
    )


def _advice(folder: Path) -> str:
    """Name a folder just below that holds a recording, if there is one."""
    for below in sorted(path for path in folder.iterdir() if path.is_dir()):
        if (below / LOG_FILE).is_file() or is_tub(below):
            return f"Give a folder that does, e.g. '{below}'."
    return "Give the folder that holds one of them."
