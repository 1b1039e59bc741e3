"""Inspect a saved policy.

    python scripts/audit.py policies/pretrained/drive-ncp               while it drives a track
    python scripts/audit.py policies/pretrained/walker2d-ltc            while it moves a robot
    python scripts/audit.py POLICY --world gymnasium:Hopper-v5          in another environment
    python scripts/audit.py policies/pretrained/road-ltc --condition fog:3    with camera failures
    python scripts/audit.py policies/pretrained/drive-ncp --log PATH    on a recording
    python scripts/audit.py POLICY --log RUN/demonstrations/test        on recorded demonstrations

report/
    report.md        all findings and figures; a part that cannot be made says why
    inspector.html   the episode as a page: saliency, wiring, traces, track; needs no server
    *.png, *.svg     the figures      *.csv   the tables with all digits
"""

from ncp_control.command_line import find, run_job
from scripts.auditing.settings import Audit


def audit(settings: Audit) -> None:
    """Record an episode of each policy, make every part that applies, and write the report."""
    find("scripts.auditing.audit_job:audit")(settings)


if __name__ == "__main__":
    run_job(audit, Audit, __doc__)
