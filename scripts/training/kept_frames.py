"""Setting of how frames of demonstrations are stored; imports nothing heavy."""

from dataclasses import dataclass

from ncp_control.names import check_name

FRAMES_AS = ("raw", "png", "jpeg")
"""Encodings in `ncp_control.learning.demonstrations.encoded`; a test checks that they match."""
SHARE_OF_RAW = {"raw": 1.0, "png": 0.3, "jpeg": 0.15}
"""Approximate size of an encoded frame on disk, relative to raw."""


@dataclass(frozen=True, kw_only=True)
class KeptFrames:
    """Settings of a training job whose demonstrations may have frames."""

    frames_as: str = "raw"
    """Encoding of the frames of demonstrations on disk: raw, 47 kB for a frame of 78 × 200 pixels;
    png, about 14 kB, lossless; or jpeg, about 6 kB, which changes pixels a little."""

    def check_frames(self) -> None:
        """Refuse an unknown encoding of frames."""
        check_name("frames_as", self.frames_as, FRAMES_AS)

    @property
    def words_of_frames(self) -> str:
        """Suffix for the digest of demonstrations with this encoding; "" for raw."""
        return "" if self.frames_as == "raw" else f" {self.frames_as}"
