"""Limits, and pure functions from measurements to findings."""
