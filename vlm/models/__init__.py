"""The model's rooms: tower → connector → decoder, joined in `model`."""
