"""Runs: training and measuring them, their folders, resuming, and the jobs of sweeps."""
