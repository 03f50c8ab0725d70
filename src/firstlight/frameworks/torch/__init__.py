"""PyTorch: reading, observing, writing and training its models."""
