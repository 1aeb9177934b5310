"""What everything costs, against what it may cost: see configs/benchmark.yaml.

Nothing is imported here: benchmarks.first_step is to cost a training run no time.
"""
