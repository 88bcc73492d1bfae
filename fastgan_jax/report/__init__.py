"""A run for readers: its self-contained HTML page, its model card, and the contact sheet of a set."""
