"""The jobs of `train.py`."""

from ncp_control.command_line import Command

_ROOM = "scripts.training"
JOBS = {
    "drive": Command(f"{_ROOM}.imitation_settings:Drive", f"{_ROOM}.drive:train_drive"),
    "recorded": Command(f"{_ROOM}.recorded_settings:Recorded", f"{_ROOM}.recorded:train_recorded"),
    "imitate": Command(f"{_ROOM}.imitation_settings:Imitate", f"{_ROOM}.imitate:train_imitate"),
    "distill": Command(f"{_ROOM}.settings:Distill", f"{_ROOM}.distill:train_distill"),
    "series": Command(f"{_ROOM}.series_settings:Series", f"{_ROOM}.series:train_series"),
    "ppo": Command(f"{_ROOM}.ppo_settings:PPO", f"{_ROOM}.ppo:train_ppo"),
    "sac": Command(f"{_ROOM}.sac_settings:SAC", f"{_ROOM}.sac:train_sac"),
    "teacher": Command(f"{_ROOM}.settings:Teacher", f"{_ROOM}.teacher:train_teacher"),
}
"""Settings class and function of each job, imported only when needed."""
SHARED = ("drive", "recorded", "imitate", "distill", "series", "ppo")
"""Jobs whose batches can be shared by several processes under torchrun."""
