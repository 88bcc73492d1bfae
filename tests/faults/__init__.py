"""Faults: the real program in processes that are killed, starved, or given damaged files; `python -m tests.faults`."""
