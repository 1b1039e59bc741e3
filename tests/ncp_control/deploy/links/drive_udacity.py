"""Drive against a client that speaks the Udacity simulator's dialect, for a while; print numbers.

    python tests/ncp_control/deploy/links/drive_udacity.py --seconds 300

`run.py` and the client are processes of their own, as on a user's computer. The client drives the
car of our own world, pings, sends telemetry twice at the begin, has decimal commas, and a person
takes over for 5 s of every 60. The status is 1 if a ping stayed without an answer, if the car left
its lane, or if it did not stand at the end.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[4]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--ping-s", type=float, default=25.0)
    parser.add_argument("--manual", type=float, nargs=2, default=(60.0, 5.0))
    words = parser.parse_args()
    numbers = drive(words.seconds, words.ping_s, words.manual)
    print(json.dumps(numbers, indent=1))
    client = numbers["client"]
    is_fine = client["pongs"] == client["pings"] and client["crashes"] == 0
    sys.exit(not (is_fine and client["speed_mph"] < 6.5 and client["handovers"] > 0))


def drive(seconds, ping_s, manual):
    """Return what the client and the loop counted."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    client = subprocess.Popen(
        [sys.executable, HERE / "udacity_simulator.py", "--port", port, "--comma",
         "--ping-s", str(ping_s), "--manual", *map(str, manual)],
        env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        try:
            subprocess.run(
                [sys.executable, ROOT / "scripts" / "run.py", "drive-ncp", "--link", "udacity",
                 "--link-options", f"port={port}", "speed_mph=20", "--loop.seconds", str(seconds),
                 "--runs", folder],
                env=environment, check=True, stdout=sys.stderr,
            )  # fmt: skip
            told, _ = client.communicate(timeout=30.0)
        finally:
            client.kill()
        (report,) = Path(folder).glob("*/report/loop.json")
        return {"client": json.loads(told), "loop": json.loads(report.read_text())}


if __name__ == "__main__":
    main()
