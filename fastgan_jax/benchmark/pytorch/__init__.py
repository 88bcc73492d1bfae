"""The method in plain PyTorch: an oracle for tests, and the other side of a paired benchmark."""
