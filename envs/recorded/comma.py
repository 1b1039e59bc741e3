"""Load segments of comma2k19: one minute of a real car, numbers as NumPy files without a suffix.

| file                                 | content                                                   |
|--------------------------------------|-----------------------------------------------------------|
| `video.hevc`                         | the camera, 20 frames per second; may be missing          |
| `global_pose/frame_times`            | time of each frame [s]                                    |
| `processed_log/CAN/NAME/t`, `/value` | `steering_angle` [deg], `speed`, `wheel_speed` [m/s]      |
| `processed_log/IMU/NAME/t`, `/value` | `accelerometer`, `gyro`, …                                |

Numbers have other times than frames, about 90 per second, and are interpolated linearly. If a
series has a gap of more than `_MAX_GAP_S` around a frame, the number is missing there. The steering
angle is that of the steering wheel, left positive; it is the default action.

Source: https://github.com/commaai/comma2k19
"""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from envs.recorded.assembly import Listing, LoggedFrame, assemble_recording, check_folder
from envs.recorded.images import Framing
from envs.recorded.quantities import SPEED_UNIT, STEERING_ANGLE, Quantity
from envs.recorded.recording import Recording
from envs.recorded.video import Video, VideoFrame
from ncp_control.tally import Tally

LOG_FOLDER, VIDEO_FILE = "processed_log", "video.hevc"
_MAX_GAP_S = 0.2
_MOST_COLUMNS = 4
"""Series with more columns are left out: they are not numbers of the car, e.g. radar."""
_WHEELS = ("front_left", "front_right", "rear_left", "rear_right")
QUANTITIES = (
    Quantity(name=STEERING_ANGLE, unit="deg", positive="left"),
    *(Quantity(name=f"wheel_speed.{wheel}", unit=SPEED_UNIT) for wheel in _WHEELS),
)


def load_comma(
    folder: str | Path,
    *,
    image_size: tuple[int, int] = (78, 200),
    crop: tuple[float, float] = (0.0, 0.0),
    max_gap_s: float = 1.0,
    max_missing_frames: int = 3,
) -> Recording:
    """Load a segment of comma2k19.

    Args:
        folder: Folder of the segment.
        image_size: Height and width of an observation [pixels].
        crop: Share of the height cut off at the top and at the bottom.
        max_gap_s: Time between two frames above which a new episode starts [s].
        max_missing_frames: Number of consecutive missing frames above which a new episode starts.

    Raises:
        FileNotFoundError: If the folder is missing.
        ValueError: If no frame can be used.
    """
    folder = Path(folder)
    check_folder(folder)
    framing, skipped = Framing(image_size=image_size, crop=crop), Tally()
    series = dict(_series(folder, skipped))
    time_s = _frame_times(folder, series, skipped)
    numbers = {name: _at(time_s, *samples) for name, samples in series.items()}
    video = _video(folder, skipped)
    frames = [
        LoggedFrame(
            row=row,
            time_s=float(time_s[row]),
            numbers={n: float(v[row]) for n, v in numbers.items() if np.isfinite(v[row])},
            path=None if video is None or row >= len(video) else VideoFrame(video.path, row, video),
            place=f"frame {row}",
        )
        for row in range(len(time_s))
        if np.isfinite(time_s[row])
    ]
    return assemble_recording(
        Listing(
            folder=folder,
            format="comma2k19",
            frames=frames,
            skipped=skipped,
            advice="Unpack the segment again.",
            quantities=QUANTITIES,
            actions=(STEERING_ANGLE,),
        ),
        framing=framing,
        max_gap_s=max_gap_s,
        max_missing_frames=max_missing_frames,
    )


def is_comma(path: Path) -> bool:
    """True for the folder of a segment."""
    return (path / LOG_FOLDER).is_dir()


def _series(folder: Path, skipped: Tally) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """Yield name, times and values of each number."""
    for source in ("CAN", "IMU"):
        for place in sorted((folder / LOG_FOLDER / source).glob("*/value")):
            name = place.parent.name
            time_s, values = _load(place.with_name("t"), skipped), _load(place, skipped)
            if time_s is None or values is None:
                continue
            values = values.reshape(len(values), -1) if values.ndim and len(values) else values
            if time_s.ndim != 1 or values.ndim != 2 or len(values) != len(time_s):
                skipped.add("series of other times than values", f"{source}/{name}")
                continue
            width = values.shape[1]
            for i in range(width if width <= _MOST_COLUMNS else 0):
                is_whole = np.isfinite(time_s) & np.isfinite(values[:, i])
                samples = time_s[is_whole], values[is_whole, i]
                if len(samples[0]) > 1:
                    order = np.argsort(samples[0], kind="stable")
                    yield _name(name, i, width), (samples[0][order], samples[1][order])


def _name(name: str, column: int, width: int) -> str:
    if width == 1:
        return name
    return f"{name}.{_WHEELS[column] if name == 'wheel_speed' and width == 4 else column}"


def _load(path: Path, skipped: Tally) -> np.ndarray | None:
    """Return an array of numbers as float64; None, and count it, if the file is damaged."""
    name = "/".join(path.parts[-3:])
    if not path.is_file():
        skipped.add("missing file", name)
        return None
    try:
        array = np.lib.format.open_memmap(path, mode="r")
        if array.dtype.kind not in "fiu" or array.size > 2**27:
            raise ValueError("no numbers")
        with np.errstate(all="ignore"):
            return np.array(array, np.float64)
    except Exception:  # NumPy's reader raises nearly any error on a damaged header
        skipped.add("damaged file", name)
        return None


def _frame_times(
    folder: Path, series: dict[str, tuple[np.ndarray, np.ndarray]], skipped: Tally
) -> np.ndarray:
    """Return the time of each frame [s]; without a file of these, the times of the steering.

    Raises:
        ValueError: If there are no numbers at all.
    """
    if not series:
        raise ValueError(
            f"`folder` must hold numbers of a car in {LOG_FOLDER}/CAN, got none that can be read in"
            f" '{folder}' ({skipped if skipped.total else 'it is empty'}). Unpack it again."
        )
    path = folder / "global_pose" / "frame_times"
    times_s = _load(path, skipped) if path.is_file() else None
    if times_s is not None and times_s.ndim == 1 and len(times_s):
        return times_s
    return series.get(STEERING_ANGLE, next(iter(series.values())))[0]


def _at(time_s: np.ndarray, series_s: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Interpolate a series to the times of frames; NaN outside of the series and in its gaps."""
    found = np.full(len(time_s), np.nan)
    is_known = np.isfinite(time_s)
    found[is_known] = np.interp(time_s[is_known], series_s, values, left=np.nan, right=np.nan)
    after = np.clip(np.searchsorted(series_s, time_s), 1, len(series_s) - 1)
    found[series_s[after] - series_s[after - 1] > _MAX_GAP_S] = np.nan
    return found


def _video(folder: Path, skipped: Tally) -> Video | None:
    """Return the video of the camera; None, with a warning, if it is missing or unreadable."""
    path = folder / VIDEO_FILE
    fault = "is missing"
    if path.is_file():
        try:
            return Video(path)
        except ValueError as error:
            if "pip install" in str(error):
                raise
            skipped.add("damaged video", str(error))
            fault = "cannot be read"
    warnings.warn(f"{VIDEO_FILE} of '{folder}' {fault}: numbers are read alone.", stacklevel=3)
    return None
