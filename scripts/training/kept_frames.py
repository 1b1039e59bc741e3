"""How a training keeps the frames of its demonstrations, without heavy imports."""

from dataclasses import dataclass

from ncp_control.names import check_name

FRAMES_AS = ("raw", "png", "jpeg")
"""Ways in `ncp_control.learning.demonstrations.encoded`; a test holds the two to each other."""
SHARE_OF_RAW = {"raw": 1.0, "png": 0.3, "jpeg": 0.15}
"""About which share of its pixels' bytes a frame takes on disk."""


@dataclass(frozen=True, kw_only=True)
class KeptFrames:
    """Settings of a training whose demonstrations may be frames."""

    frames_as: str = "raw"
    """How frames of demonstrations are kept on disk: raw, 47 kB for one of 78 × 200 pixels; png,
    about 14 kB, and nothing else changes; or jpeg, about 6 kB, which changes pixels a little."""

    def check_frames(self) -> None:
        """Refuse a way to keep frames that is unknown."""
        check_name("frames_as", self.frames_as, FRAMES_AS)

    @property
    def words_of_frames(self) -> str:
        """What distinguishes demonstrations that are kept so; "" where frames are kept raw."""
        return "" if self.frames_as == "raw" else f" {self.frames_as}"
