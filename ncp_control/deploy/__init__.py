"""Policies outside this library: as C source for a robot's computer or microcontroller."""
