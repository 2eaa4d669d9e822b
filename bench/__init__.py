"""Benchmarks: the Hub against the physical limit of the machine it runs on. See README.md."""
