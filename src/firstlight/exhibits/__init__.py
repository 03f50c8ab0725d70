"""Experiments on what the field teaches, each run for real, and the demo."""
