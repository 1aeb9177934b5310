"""Measures cost against fixed targets: see configs/benchmark.yaml.

Nothing is imported here, so that importing benchmarks.first_step takes no time.
"""
