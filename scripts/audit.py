"""Look inside a saved policy.

    python scripts/audit.py policies/pretrained/drive-ncp               in its world: drives a track
    python scripts/audit.py policies/pretrained/walker2d-ltc            the same: moves a robot
    python scripts/audit.py POLICY --world gymnasium:Hopper-v5          in another world
    python scripts/audit.py policies/pretrained/road-ltc --condition fog:3    where the camera fails
    python scripts/audit.py policies/pretrained/drive-ncp --log PATH    watches a recording
    python scripts/audit.py POLICY --log RUN/demonstrations/test        the same, of any policy

report/
    report.md        what was found, with every figure; a part that cannot be made says why
    inspector.html   the episode as a page: saliency, wiring, traces, track; needs no server
    *.png, *.svg     the figures      *.csv   the tables with all digits
"""

from ncp_control.command_line import find, run_job
from scripts.auditing.settings import Audit


def audit(settings: Audit) -> None:
    """Record an episode of each policy, make every part that applies, write the report."""
    find("scripts.auditing.audit_job:audit")(settings)


if __name__ == "__main__":
    run_job(audit, Audit, __doc__)
