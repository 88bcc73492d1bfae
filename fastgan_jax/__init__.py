"""FastGAN in JAX: few-shot high-resolution image synthesis in one compiled training step."""

__version__ = "0.1.0"
