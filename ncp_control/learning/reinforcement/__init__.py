"""Reinforcement learning of circuits, on stable-baselines3 and sb3-contrib.

`actor_critic`: policy class. `perception`: features of numbers and frames. `ppo`: PPO over whole
sequences. `sac`: SAC and TQC over sequences. `tensor_ppo` and `tensor_env`: PPO in environments on
a device. `checkpoint`: file from which stopped training resumes. `progress`: logging and progress
bar. `elapsed`: elapsed time as part of an observation. `teacher`: large networks to distill from.
Nothing is imported here, since the circuit itself does not need stable-baselines3.
"""
