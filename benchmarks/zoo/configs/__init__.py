"""Architectures as rows: name, part of the zoo, transformers class, config, what it is fed."""
