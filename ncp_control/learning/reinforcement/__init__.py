"""Reinforcement learning of circuits, on stable-baselines3 and sb3-contrib.

`actor_critic` holds the policy class, `perception` what it sees of numbers and of frames, `ppo` the
algorithm over whole sequences, `tensor_ppo` the same in worlds on a device, which `tensor_env`
holds, `checkpoint` what a stopped training goes on from, `progress` what a run folder and a
progress bar get to see, `elapsed` how the time between frames gets into an observation, `teacher`
the large network to distil from. Nothing is imported here: the circuit itself does not need
stable-baselines3.
"""
