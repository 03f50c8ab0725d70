"""The mathematics of signal propagation: activations, gains, mean field, odd parts, fans."""
