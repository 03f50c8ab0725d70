"""Questions about a model as plain data: what feeds a weight, its chains and branches."""
