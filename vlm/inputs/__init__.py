"""From files and text to a `vlm.records.Sequence`."""
