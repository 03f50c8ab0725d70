"""Weights straight to files: a model's start, larger than memory, written shard by shard."""
