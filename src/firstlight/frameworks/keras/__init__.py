"""Reads, observes and trains Keras models, on the backend that Keras runs on."""
