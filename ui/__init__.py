"""The page: what the records of one turn look like to a person."""

import os

from ui.startup import skip_stubs

# Both matter to Gradio while it is imported, so they come before any module of this package imports it.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
skip_stubs()
