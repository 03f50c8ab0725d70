"""Rules that turn a network, and what was measured of it, into a plan."""
