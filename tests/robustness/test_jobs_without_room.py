"""Jobs that meet a full disk, a limit on the size of files, or a folder that nobody may write to.

They end with one sentence and status 2. What they had finished stays, and nothing is half-written.
"""

import os
import re
import subprocess

import pytest

from ncp_control import Policy

pytestmark = pytest.mark.slow

JOBS = (
    "drive",
    "recorded",
    "distillation",
    "ppo",
    "sac",
    "driving by ppo",
    "teacher",
    "reproduction",
    "evaluation",
    "walking",
    "audit",
    "benchmark",
)


@pytest.fixture
def make_disk(tmp_path):
    """Return a folder on a disk of its own, which takes so many kilobytes."""
    mounted = []

    def make(kilobytes):
        folder = tmp_path / f"disk-{kilobytes}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
        if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("only root may mount a disk here")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def check_refused(answer, reason, folder, check_whole):
    """Check that a job ended with one sentence and left nothing half-written."""
    assert answer["status"] == 2, answer["err"]
    assert "Traceback" not in answer["err"]
    *shown, sentence = answer["err"].splitlines()  # progress bars come first
    assert re.fullmatch(rf"error: {reason}: \S.*", sentence)
    assert not [line for line in shown if line.startswith("error") or "space left" in line]
    assert check_whole(folder) == [], "nothing hidden is left"
    # A policy that the job said to have saved is there: `check_whole` has loaded it.
    for path in re.findall(r"^policy: (.*)$", answer["out"], re.MULTILINE):
        assert (folder / path / "weights.safetensors").is_file()


@pytest.mark.parametrize("job", JOBS)
def test_a_full_disk_is_one_sentence(workshop, make_disk, check_whole, job):
    ends = []
    for kilobytes in (4, 64, 256, 1024):
        folder = make_disk(kilobytes)
        answer = workshop(job, folder)
        ends.append(answer["status"])
        if answer["status"]:
            check_refused(answer, "No space left on device", folder, check_whole)
    assert 2 in ends


@pytest.mark.parametrize("job", JOBS)
def test_a_limit_on_the_size_of_files_is_one_sentence(workshop, tmp_path, check_whole, job):
    ends = []
    for size in (100, 1500, 10_000, 60_000):
        folder = tmp_path / str(size)
        folder.mkdir()
        answer = workshop(job, folder, file_bytes=size)
        ends.append(answer["status"])
        if answer["status"]:
            check_refused(answer, "File too large", folder, check_whole)
    assert ends[0] == 2


@pytest.mark.parametrize("job", JOBS)
def test_a_folder_that_nobody_may_write_to_is_one_sentence(workshop, make_disk, check_whole, job):
    folder = make_disk(64)
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    answer = workshop(job, folder)
    check_refused(answer, "(Read-only file system|Cannot be written)", folder, check_whole)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("job", ["drive", "recorded", "ppo", "sac", "driving by ppo", "teacher"])
def test_a_report_that_does_not_fit_costs_no_policy(workshop, tmp_path, check_whole, job):
    answer = workshop(job, tmp_path, full_at=r"/\.?report")
    check_refused(answer, "No space left on device", tmp_path, check_whole)
    assert re.search(r": .*/report.*$", answer["err"].rstrip())
    (policy,) = tmp_path.glob("runs/*/policy")
    Policy.load(policy)
