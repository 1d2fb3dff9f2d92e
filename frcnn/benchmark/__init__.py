"""What ``scripts/benchmark.py`` measures: ours and a peer's, alternating in one run."""
