"""What each fault does to a model.

In place; each operator returns the names of the culprits, or None where it does not apply.
"""
