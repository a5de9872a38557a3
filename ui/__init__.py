"""The page: what the records of one turn look like to a person."""

import os

# Read by Gradio when it is imported, so it is set before any module of this package imports it.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
