"""Weights in and out of the official safetensors layout."""
