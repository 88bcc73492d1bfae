"""Fixtures shared by all tests: the local data folder, and one small model whose programs are compiled once."""

import functools
import logging
import os
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from PIL import Image

from configs import smoke
from fastgan_jax import train
from fastgan_jax.build import spec_from_config
from fastgan_jax.gan import step as train_step
from fastgan_jax.gan.spec import Spec
from fastgan_jax.gan.state import TrainState, create_train_state
from fastgan_jax.gan.step import train_step as one_step
from fastgan_jax.inference.restore import TrainedDiscriminator, load_discriminator, load_training_set
from fastgan_jax.utils.grids import save_png

SHARED = Path(__file__).resolve().parents[2] / "shared"

jax.config.update("jax_numpy_rank_promotion", "raise")
# Parity needs true float32 products where a device would use less for its default.
jax.config.update("jax_default_matmul_precision", "highest")
# Compilation is what tests cost on two cores; unoptimized programs compute the same, two to five times sooner.
# tests/gan/test_parity_iteration.py holds whole iterations to the reference as users run them.
jax.config.update("jax_disable_most_optimizations", True)
# Unoptimized, XLA's newer way of compiling fusions for CPU takes twice as long as the older one. XLA reads the variable
# when it is first used, and does not start with flags that it does not know: other versions go without.
if jax.__version_info__[:2] == (0, 10):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false"
# What one test compiled, another need not, in this process or beside it: the folder lives as long as the first process.
if "FASTGAN_JAX_TESTS_CACHE" not in os.environ:
    OWN_CACHE = tempfile.TemporaryDirectory(prefix="fastgan-jax-tests-")
    os.environ["FASTGAN_JAX_TESTS_CACHE"] = OWN_CACHE.name
CACHE = os.environ["FASTGAN_JAX_TESTS_CACHE"]
jax.config.update("jax_compilation_cache_dir", CACHE)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
# Test processes share a device's memory.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def own_cores(cores: list[int]) -> list[int]:
    """The share of one test process of these cores: threads that wait for each other's core only warm it."""
    worker, workers = os.environ["PYTEST_XDIST_WORKER"], int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    return cores[int(worker.removeprefix("gw")) :: workers] or cores


if "PYTEST_XDIST_WORKER" in os.environ and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, own_cores(sorted(os.sched_getaffinity(0))))

LONG_FILES = (
    "four_devices",
    "combinations",
    "parity_iteration",
    "program",
    "accumulation",
    "step",
    "workload",
)

# The same settings for the processes that tests start.
PROCESS_SETTINGS = {
    "JAX_DEFAULT_MATMUL_PRECISION": "highest",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "JAX_COMPILATION_CACHE_DIR": CACHE,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that both processes are busy to the end."""
    order = {f"test_{name}": place for place, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: -1 if needs_smoke_run(item.path) else order.get(item.path.stem, len(order)))


@functools.cache
def needs_smoke_run(path: Path) -> bool:
    """Whether tests in a file use the fixture `smoke_run`."""
    return "smoke_run" in path.read_text(encoding="utf-8")


@pytest.hookimpl(optionalhook=True)  # the tests run without pytest-xdist too
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Files stay together, and all that need the run of configs/smoke.py go to one process, which makes it once."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.split("::")[0]
            return "smoke run" if needs_smoke_run(config.rootpath / path) else path

    return ByFile(config, log)


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of local data beside the project; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder ../shared (local image sets and recorded numbers), which is absent")
    return SHARED


@pytest.fixture(scope="session")
def process_environment() -> dict[str, str]:
    """Environment for processes that tests start."""
    return os.environ | PROCESS_SETTINGS


@pytest.fixture(autouse=True)
def own_logging():
    """Commands set up logging for their process; the next test starts without."""
    loggers = [logging.getLogger(name) for name in ("fastgan_jax", "absl", "jax")]
    before = [(each.level, list(each.handlers), each.propagate) for each in loggers]
    yield
    for each, (level, handlers, propagate) in zip(loggers, before, strict=True):
        each.setLevel(level)
        each.handlers[:], each.propagate = handlers, propagate


@dataclass(frozen=True)
class SmallModel:
    """The model of configs/smoke.py with its state before training and its step, compiled (not donating)."""

    config: ml_collections.ConfigDict
    spec: Spec
    state: TrainState
    step: callable
    images: jax.Array  # uint8 [4, 64, 64, 3]
    labels: jax.Array


@pytest.fixture(scope="session")
def small() -> SmallModel:
    """One small model for all tests that need a whole training step."""
    config = smoke.get_config()
    spec = spec_from_config(config)
    state = create_train_state(jax.random.key(0), spec)
    images = jnp.asarray(np.random.RandomState(0).randint(0, 256, (4, 64, 64, 3), np.uint8))
    step = jax.jit(partial(one_step, spec))
    return SmallModel(config, spec, state, step, images, jnp.zeros(4, jnp.int32))


@pytest.fixture(scope="session")
def smoke_run_traces(tmp_path_factory) -> tuple[Path, int]:
    """A run of configs/smoke.py that nothing disturbed, and how often it traced the step."""
    path = tmp_path_factory.mktemp("runs") / "smoke"
    traces = []
    original = train_step.update

    def counting(*arguments):
        traces.append(1)
        return original(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_step, "update", counting)
        train.train_and_evaluate(smoke.get_config(), str(path))
    return path, len(traces)


@pytest.fixture(scope="session")
def smoke_run(smoke_run_traces) -> Path:
    """The folder of a finished run of configs/smoke.py; tests must not change it."""
    return smoke_run_traces[0]


@pytest.fixture(scope="module")
def smoke_run_d(smoke_run) -> TrainedDiscriminator:
    """The discriminator of the smoke run, with its configuration."""
    return load_discriminator(smoke_run)


@pytest.fixture(scope="module")
def smoke_run_images(smoke_run, smoke_run_d) -> np.ndarray:
    """The training images of the smoke run, uint8 [20, 64, 64, 3]."""
    return load_training_set(smoke_run, smoke_run_d.config).images


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory, smoke_run_images) -> Path:
    """Two training images of the smoke run, and a wide gray one in a subfolder."""
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(2):
        save_png(folder / f"{index}.png", smoke_run_images[index])
    (folder / "sub").mkdir()
    Image.new("L", (90, 50), 200).save(folder / "sub" / "wide.jpg")
    return folder
