"""The chat engine: token by token generation, and sessions of many turns."""
