"""What is installed: the lock of tested versions, the requirements for sampling alone, the Dockerfile."""

import re
import runpy
import subprocess
from pathlib import Path

import pytest
import setuptools
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PAGES = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/installation.md"))


def requirements(name: str) -> list[Requirement]:
    """The requirements in a file of the project."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if not line.startswith("#")]


@pytest.fixture
def extras(monkeypatch) -> dict[str, list[str]]:
    """The extras of setup.py."""
    monkeypatch.setattr(setuptools, "setup", lambda **_: None)
    return runpy.run_path(str(ROOT / "setup.py"))["EXTRAS"]


def test_the_lock_has_a_version_for_all_that_the_tests_need(extras):
    locked = {canonicalize_name(each.name): each.specifier for each in requirements("requirements.lock")}
    assert all(re.fullmatch(r"==[\w.+]+", str(version)) for version in locked.values())
    for needed in (*requirements("requirements.txt"), *map(Requirement, extras["dev"])):
        version = str(locked[canonicalize_name(needed.name)]).removeprefix("==")
        assert needed.specifier.contains(version, prereleases=True), f"{needed} is locked at {version}"


def test_sampling_alone_needs_a_part_of_the_requirements():
    assert set(map(str, requirements("requirements-sample.txt"))) < set(map(str, requirements("requirements.txt")))


def test_the_docker_image_is_installed_as_the_pages_say(extras):
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    (command,) = [line.removeprefix("RUN ") for line in lines if line.startswith("RUN ")]
    assert "ARG EXTRA=" in lines and "COPY . /fastgan_jax" in lines
    for extra in ("", "cuda", "cuda12", "tpu"):
        program = command.replace("cd /fastgan_jax && pip", "echo pip")
        shown = subprocess.run(["sh", "-c", program], env={"EXTRA": extra}, capture_output=True, text=True, check=True)
        where = f".[{extra}]" if extra else "."
        assert shown.stdout == f"pip install --no-cache-dir -c requirements.lock {where}\n"
        assert not extra or (extra in extras and f"'.[{extra}]'" in PAGES)
    for line in lines:
        if line.startswith("# docker"):
            assert line.removeprefix("# ").split("  ")[0] in PAGES
