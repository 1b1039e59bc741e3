"""Write a recording in another format."""

from envs.recorded import load_recording, write_lerobot, write_minari, write_tub
from envs.recorded.fractions import as_fractions
from ncp_control.keyword_options import read_options
from scripts.curating.loading import with_actions
from scripts.curating.settings import Convert
from scripts.recordings import tell_marked


def convert(settings: Convert) -> None:
    """Load the recording, write it in the other format, and print what was written."""
    recording = load_recording(
        settings.log, options=read_options(settings.log_options, "log_options")
    )
    tell_marked([recording])
    if settings.max_steer_deg is not None:
        recording = as_fractions(recording, settings.max_steer_deg)
    recording = with_actions(recording, settings.actions)
    if settings.to == "tub":
        write_tub(recording, settings.out)
    elif settings.to == "minari":
        write_minari(recording, settings.out)
    else:
        write_lerobot(recording, settings.out, task=settings.task)
    written = recording.center_only()  # the writers warn about other cameras
    others = [one.name for one in written.quantities if one.name not in written.actions]
    names = [*(f"{name} (action)" for name in written.actions), *others]
    size = sum(path.stat().st_size for path in settings.out.rglob("*") if path.is_file())
    print(
        f"{settings.out}: {len(written):,} frames in {len(written.episodes):,} episodes,"
        f" {size / 1e6:,.1f} MB, from {recording.folder} ({recording.format})"
    )
    print(f"numbers: {', '.join(names) or 'none'}")
