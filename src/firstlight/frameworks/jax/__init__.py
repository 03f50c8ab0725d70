"""Reads, observes and trains JAX models: Flax NNX and Linen, Equinox, functions of parameters."""
