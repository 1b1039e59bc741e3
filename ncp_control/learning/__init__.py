"""Training of policies: demonstrations, imitation, distillation, reinforcement, run folders."""
