"""Draws by address: every weight is a pure function of (seed, name, coordinates)."""
