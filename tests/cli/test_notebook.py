"""The notebooks run from top to bottom and are stored without their results."""

import base64
import io
import re
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from fastgan_jax.data.demo import draw_demo_image
from fastgan_jax.utils.grids import encode_png

nbformat = pytest.importorskip("nbformat", reason="needs nbformat, nbclient and ipykernel")
nbclient = pytest.importorskip("nbclient", reason="needs nbformat, nbclient and ipykernel")
pytest.importorskip("ipykernel", reason="needs nbformat, nbclient and ipykernel")

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"


def sizes(cell) -> list[tuple[int, int]]:
    """Width and height of the images that a cell has shown."""
    found = []
    for output in cell.outputs:
        kinds = [kind for kind in output.get("data", {}) if kind.startswith("image/")]
        if kinds:  # Pillow offers the same image in several formats
            found.append(Image.open(io.BytesIO(base64.b64decode(output.data[kinds[0]]))).size)
    return found


def executed(name: str, environment: dict[str, str], monkeypatch) -> list:
    """The code cells of a notebook after it ran in a fresh kernel."""
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    for variable, value in (environment | {"JAX_PLATFORMS": "cpu"}).items():
        monkeypatch.setenv(variable, value)
    options = {"timeout": 300, "kernel_name": "python3", "resources": {"metadata": {"path": ROOT}}}
    nbclient.NotebookClient(notebook, **options).execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(cell, stream: str) -> str:
    return "".join(output.text for output in cell.outputs if output.get("name") == stream)


# Libraries of the kernel and its client warn of their own future; nothing here can be done about it.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::FutureWarning")
def test_sampling_shows_its_images(smoke_run, process_environment, monkeypatch):
    cells = executed("sample.ipynb", process_environment | {"FASTGAN_RUN": str(smoke_run)}, monkeypatch)
    assert "64 pixels, latents of 8, iteration 4" in cells[1].outputs[0].text
    shown = [sizes(cell) for cell in cells]
    grids = [(2, 4), (3, 4), (3, 8), (4, 5)]  # rows and columns of 64 pixels with gaps of 2
    samples, truncated, walk, mixed = ((66 * columns - 2, 66 * rows - 2) for rows, columns in grids)
    assert shown == [[], [], [samples], [truncated], [walk], [(64, 64)], [mixed]]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::FutureWarning")
def test_training_shows_log_bar_and_grids_and_resumes_in_a_new_kernel(tmp_path, process_environment, monkeypatch):
    images = tmp_path / "images.zip"
    with zipfile.ZipFile(images, "w") as archive:
        for index in range(20):
            archive.writestr(f"{index}.png", encode_png(draw_demo_image(0, index, 64)))
    settings = {"FASTGAN_IMAGES": str(images), "FASTGAN_RUN": str(tmp_path / "run")}
    for iterations, state in ((2, "first 1 iteration(s) done"), (4, "resumed from iteration 2")):
        settings["FASTGAN_OPTIONS"] = f"--preset smoke --config.train.iterations={iterations}"
        cells = executed("train.ipynb", process_environment | settings, monkeypatch)
        assert f"images: {images}, results: {tmp_path / 'run'}" in printed(cells[1], "stdout")
        log = printed(cells[2], "stderr")
        assert state in log and "finished: " in log and "Traceback" not in log
        assert re.search(rf"iteration: 100%.*{iterations}/{iterations}.*loss/d", log)
        assert sizes(cells[2]) == [(130, 130)]  # one grid, the last
        assert f"iteration {iterations}, 64 pixels" in printed(cells[3], "stdout") and sizes(cells[3]) == [(262, 262)]


def test_the_notebook_needs_nothing_of_the_package_but_load():
    cells = nbformat.read(NOTEBOOKS / "sample.ipynb", as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    assert [line for line in code.splitlines() if "fastgan_jax" in line] == [
        "import fastgan_jax",
        'g = fastgan_jax.load(RUN)  # step="latest", "best", or the iteration of a checkpoint',
    ]


@pytest.mark.parametrize("name", ["sample.ipynb", "train.ipynb"])
def test_notebooks_are_stored_without_results(name):
    for cell in nbformat.read(NOTEBOOKS / name, as_version=4).cells:
        assert cell.cell_type != "code" or (cell.outputs == [] and cell.execution_count is None)
