"""Packaging: `pip install -e .`, extras in EXTRAS."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "fastgan_jax" / "__init__.py").read_text(encoding="utf-8"))[1]

EXTRAS = {
    "cuda": ["jax[cuda13]>=0.10,<0.12"],
    "tpu": ["jax[tpu]>=0.10,<0.12"],
    # The compilers alone, for devices that are not here: jax-cuda13-plugin with jax-cuda13-pjrt, and libtpu.
    "target-cuda": ["jax[cuda13-local]>=0.10,<0.12"],
    "target-tpu": ["jax[tpu]>=0.10,<0.12"],
    "torch": ["torch>=2.4"],
    "video": ["av>=14"],
    "onnx": ["flatbuffers>=24.3", "onnx>=1.18", "onnxruntime>=1.20", "safetensors>=0.5"],
    "weights": ["h5py>=3.12", "safetensors>=0.5"],
}
EXTRAS["dev"] = [
    *EXTRAS["video"],
    *EXTRAS["onnx"],
    *EXTRAS["weights"],
    "hypothesis>=6",
    "ipykernel>=6",
    "nbclient>=0.10",
    "nbformat>=5",
    "pytest>=8",
    "pytest-xdist>=3.8",
    "ruff>=0.9",
]

setup(
    name="fastgan_jax",
    version=VERSION,
    description="FastGAN in JAX: few-shot high-resolution image synthesis, one compiled training step",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["fastgan_jax", "fastgan_jax.*"]),
    package_data={"fastgan_jax.benchmark": ["devices/*.json"]},
    install_requires=(ROOT / "requirements.txt").read_text(encoding="utf-8").split(),
    extras_require=EXTRAS,
)
