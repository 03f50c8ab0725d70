"""Experiments on what the field teaches, each run for real."""
