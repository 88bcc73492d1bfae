"""The commands: one module each, which parses arguments and calls the library."""
