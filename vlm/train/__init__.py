"""Synthetic data, the trainer, and the recipe of the embedded model. Not imported by the app."""
