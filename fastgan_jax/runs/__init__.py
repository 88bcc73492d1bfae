"""A run on disk: its configuration, folder, checkpoints, metrics and signals."""
