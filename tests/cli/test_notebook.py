"""notebooks/sample.ipynb runs from top to bottom on a run folder and is stored without its results."""

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

nbformat = pytest.importorskip("nbformat", reason="needs nbformat, nbclient and ipykernel")
nbclient = pytest.importorskip("nbclient", reason="needs nbformat, nbclient and ipykernel")
pytest.importorskip("ipykernel", reason="needs nbformat, nbclient and ipykernel")

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks" / "sample.ipynb"


def sizes(cell) -> list[tuple[int, int]]:
    """Width and height of the images that a cell has shown."""
    found = []
    for output in cell.outputs:
        kinds = [kind for kind in output.get("data", {}) if kind.startswith("image/")]
        if kinds:  # Pillow offers the same image in several formats
            found.append(Image.open(io.BytesIO(base64.b64decode(output.data[kinds[0]]))).size)
    return found


# Libraries of the kernel and its client warn of their own future; nothing here can be done about it.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::FutureWarning")
def test_the_notebook_runs_and_shows_its_images(smoke_run, process_environment, monkeypatch):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for name, value in process_environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FASTGAN_RUN", str(smoke_run))
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": ROOT}}
    )
    client.execute()

    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert "64 pixels, latents of 8, iteration 4" in cells[1].outputs[0].text
    shown = [sizes(cell) for cell in cells]
    grids = [(2, 4), (3, 4), (3, 8), (4, 5)]  # rows and columns of 64 pixels with gaps of 2
    samples, truncated, walk, mixed = ((66 * columns - 2, 66 * rows - 2) for rows, columns in grids)
    assert shown == [[], [], [samples], [truncated], [walk], [(64, 64)], [mixed]]


def test_the_notebook_needs_nothing_of_the_package_but_load():
    code = "\n".join(c.source for c in nbformat.read(NOTEBOOK, as_version=4).cells if c.cell_type == "code")
    assert [line for line in code.splitlines() if "fastgan_jax" in line] == [
        "import fastgan_jax",
        'g = fastgan_jax.load(RUN)  # step="latest", "best", or the iteration of a checkpoint',
    ]


def test_the_notebook_is_stored_without_results():
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        assert cell.cell_type != "code" or (cell.outputs == [] and cell.execution_count is None)
