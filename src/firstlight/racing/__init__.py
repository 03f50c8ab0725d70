"""Paired short trainings: how starts are compared fairly, and what the scores say."""
