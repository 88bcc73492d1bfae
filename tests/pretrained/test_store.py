"""Pretrained weights: every format, what does not fit, the cache, and downloads from a server of our own."""

import hashlib
import http.server
import os
import re
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from flax import traverse_util
from random_networks import inception_state, perceptual_params
from tool_modules import load_tool

from configs import base
from fastgan_jax.build import pretrained_from_config
from fastgan_jax.errors import UserError
from fastgan_jax.pretrained import registry, store
from fastgan_jax.pretrained.formats import read_arrays, write_arrays
from fastgan_jax.pretrained.layouts import convert
from fastgan_jax.pretrained.networks import load_perceptual
from fastgan_jax.pretrained.registry import PERCEPTUAL
from fastgan_jax.utils import files


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache folder of its own for every test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "fastgan_jax" / "weights"


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Published addresses that nobody answers; tests of downloads put their own server in."""
    for entry in registry.FILES.values():
        address = entry.address and "http://127.0.0.1:9/" + entry.filename
        monkeypatch.setitem(registry.FILES, entry.name, replaced(entry, address=address))


def replaced(entry, **fields):
    return registry.PretrainedFile(**(vars(entry) | fields))


def keras_arrays(params: dict) -> dict[str, np.ndarray]:
    """A backbone's arrays as the Keras port names them."""
    return {f"{layer}/{leaf}": array for layer, leaves in params["backbone"].items() for leaf, array in leaves.items()}


def torch_arrays(params: dict) -> dict[str, np.ndarray]:
    """SqueezeNet's arrays as torchvision names and lays them out."""
    arrays = {}
    indices = dict(zip(range(2, 10), (3, 4, 6, 7, 9, 10, 11, 12), strict=True))
    for layer, leaves in params["backbone"].items():
        name = "features.0"
        if match := re.fullmatch(r"fire(\d)/(\w+)", layer):
            name = f"features.{indices[int(match[1])]}.{match[2].replace('squeeze1x1', 'squeeze')}"
        arrays[f"{name}.weight"] = leaves["kernel"].transpose(3, 2, 0, 1)
        arrays[f"{name}.bias"] = leaves["bias"]
    return arrays


def heads_arrays(params: dict) -> dict[str, np.ndarray]:
    return {f"lin{i}.model.1.weight": head.reshape(1, -1, 1, 1) for i, head in enumerate(params["heads"].values())}


@pytest.fixture(scope="module")
def squeeze() -> dict:
    return perceptual_params("squeeze")


def assert_same(loaded: dict, expected: dict) -> None:
    loaded, expected = (traverse_util.flatten_dict(tree, sep="|") for tree in (loaded, expected))
    assert loaded.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(loaded[name], array, err_msg=name)


def write(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """Writes arrays in the format that the suffix names."""
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".pth":
        torch = pytest.importorskip("torch", reason="needs PyTorch to write the file")
        torch.save({name: torch.tensor(array) for name, array in arrays.items()}, path)
    elif path.suffix == ".safetensors":
        numpy = pytest.importorskip("safetensors.numpy", reason="needs safetensors to write the file")
        numpy.save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
    else:
        h5py = pytest.importorskip("h5py", reason="needs h5py to write the file")
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                layer, _, leaf = name.rpartition("/")
                file[f"{layer}/{layer}/{leaf}:0"] = array
    return path


@pytest.mark.parametrize("suffix", [".pth", ".npz", ".safetensors"])
def test_published_files_become_parameters_whatever_their_format(tmp_path, squeeze, suffix):
    store.import_file(write(tmp_path / f"backbone{suffix}", torch_arrays(squeeze)), "squeezenet1_1")
    store.import_file(write(tmp_path / f"heads{suffix}", heads_arrays(squeeze)), "lpips_squeeze")
    assert_same(load_perceptual("squeeze"), squeeze)


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_the_caffe_network_is_imported_with_its_input(tmp_path, squeeze, suffix):
    path = write(tmp_path / f"keras{suffix}", keras_arrays(squeeze))
    kept = store.import_file(path, "squeezenet_caffe")
    assert kept == store.cached_path("squeezenet_caffe")
    for params in (load_perceptual("squeeze_caffe"), load_perceptual("squeeze_caffe", path)):
        expected = squeeze["backbone"]["conv1"]["kernel"][:, :, ::-1]
        np.testing.assert_array_equal(params["backbone"]["conv1"]["kernel"], expected)
        np.testing.assert_allclose(
            params["input"]["shift"], [123.68 / 127.5 - 1, 116.779 / 127.5 - 1, 103.939 / 127.5 - 1]
        )


def test_a_kept_file_can_be_given_as_a_local_one(tmp_path, squeeze):
    kept = store.import_file(write(tmp_path / "b.npz", torch_arrays(squeeze)), "squeezenet1_1")
    copy = tmp_path / "elsewhere.npz"
    copy.write_bytes(kept.read_bytes())
    store.import_file(write(tmp_path / "h.npz", heads_arrays(squeeze)), "lpips_squeeze")
    kept.unlink()
    assert_same(load_perceptual("squeeze", copy), squeeze)


def test_real_files_beside_the_project(shared_dir):
    for name in ("vgg", "squeeze"):
        store.import_file(shared_dir / "weights" / "lpips_heads" / f"{name}.pth", f"lpips_{name}")
        digest = hashlib.sha256((shared_dir / "weights" / "lpips_heads" / f"{name}.pth").read_bytes()).hexdigest()
        assert digest == registry.FILES[f"lpips_{name}"].sha256
        heads = store.find(f"lpips_{name}")
        assert all((head >= 0).all() and head.max() > 0 for head in heads.values())
    store.import_file(shared_dir / "weights" / "squeezenet_v1.1_features.npz", "squeezenet_caffe")
    assert set(load_perceptual("squeeze_caffe")["backbone"]) == set(perceptual_params("squeeze")["backbone"])


def test_inception_is_kept_by_layer(tmp_path):
    state = inception_state()
    store.import_file(write(tmp_path / "inception.npz", state), "inception")
    assert_same(store.find("inception"), convert("inception", state))


# ------------------------------------------------------------------------------------------------ what does not fit


def test_a_missing_array_is_named(tmp_path, squeeze):
    arrays = torch_arrays(squeeze)
    del arrays["features.7.expand3x3.bias"]
    path = write(tmp_path / "cut.npz", arrays)
    with pytest.raises(
        UserError, match=r"cut\.npz does not give the weights squeezenet1_1: .*features\.7\.expand3x3\.bias"
    ):
        store.import_file(path, "squeezenet1_1")
    assert not store.cached_path("squeezenet1_1").exists()


def test_another_shape_is_named(tmp_path, squeeze):
    arrays = torch_arrays(squeeze) | {"features.0.weight": np.zeros((96, 3, 7, 7), np.float32)}
    with pytest.raises(
        UserError, match=r"features\.0\.weight has shape \[96, 3, 7, 7\], which does not give \[3, 3, 3, 64\]"
    ):
        store.find("squeezenet1_1", write(tmp_path / "x.npz", arrays))
    heads = heads_arrays(squeeze) | {"lin2.model.1.weight": np.zeros((1, 7, 1, 1), np.float32)}
    with pytest.raises(UserError, match=r"lin2\.model\.1\.weight has shape \[1, 7, 1, 1\]"):
        store.find("lpips_squeeze", write(tmp_path / "h.npz", heads))


def test_the_two_lineages_are_not_confused(tmp_path, squeeze):
    with pytest.raises(UserError, match="laid out as one of squeezenet_caffe, not of squeezenet1_1"):
        store.find("squeezenet1_1", write(tmp_path / "k.npz", keras_arrays(squeeze)))
    with pytest.raises(UserError, match="not of squeezenet_caffe"):
        store.find("squeezenet_caffe", write(tmp_path / "t.npz", torch_arrays(squeeze)))


def test_files_that_are_none(tmp_path):
    with pytest.raises(UserError, match=r"none\.npz: no such file"):
        read_arrays(tmp_path / "none.npz")
    with pytest.raises(UserError, match=r" is a folder: give a file, such as a \.pth \(macOS unzips"):
        read_arrays(tmp_path)
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(UserError, match=r"x\.txt: weights are read from files that end in \.npz"):
        read_arrays(tmp_path / "x.txt")
    for suffix in (".npz", ".safetensors", ".h5"):
        (tmp_path / f"x{suffix}").write_bytes(b"no weights at all")
        with pytest.raises(UserError, match="is not an .npz file|is damaged"):
            read_arrays(tmp_path / f"x{suffix}")


def test_another_networks_file_is_not_inception(tmp_path, squeeze):
    message = r"does not give the weights inception: .*lacks the array Conv2d_1a_3x3.* file is pt_inception-2015-12-05"
    with pytest.raises(UserError, match=message):
        store.import_file(write(tmp_path / "x.npz", keras_arrays(squeeze)), "inception")
    assert not store.cached_path("inception").exists()


def test_objects_in_an_npz_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.array([{"code": 1}], dtype=object))
    with pytest.raises(UserError, match=r"x\.npz is damaged"):
        read_arrays(tmp_path / "x.npz")


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    (tmp_path / "x.h5").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match=r"needs the package h5py: pip install 'fastgan_jax\[weights\]'"):
        read_arrays(tmp_path / "x.h5")


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match=r"file/x\.npz cannot be written .*XDG_CACHE_HOME"):
        write_arrays(tmp_path / "file" / "x.npz", {"a": np.zeros(3)})


def test_unknown_names_are_listed():
    with pytest.raises(
        UserError, match="no weights called 'vgg19': must be one of vgg16, squeezenet1_1.*inception, eff"
    ):
        store.find("vgg19")
    with pytest.raises(UserError, match="; the network squeeze consists of squeezenet1_1 and lpips_squeeze$"):
        store.find("squeeze")


# ---------------------------------------------------------------------------------------------------------- downloads


class Server(http.server.BaseHTTPRequestHandler):
    """Answers with `content`, after announcing `announced` bytes more."""

    content, announced = b"", 0

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content) + self.announced))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *arguments):
        """Silent."""


@pytest.fixture
def publish(monkeypatch, tmp_path, squeeze):
    """Serves the heads as a published file; returns a function that sets what the registry says of it."""
    path = write(tmp_path / "squeeze.npz", heads_arrays(squeeze))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(Server, "content", path.read_bytes())

    def published(**fields):
        entry = replaced(
            registry.FILES["lpips_squeeze"],
            address=f"http://127.0.0.1:{server.server_port}/squeeze.npz",
            filename="squeeze.npz",
            **({"sha256": hashlib.sha256(path.read_bytes()).hexdigest()} | fields),
        )
        monkeypatch.setitem(registry.FILES, "lpips_squeeze", entry)

    yield published
    server.shutdown()
    server.server_close()


def test_a_download_says_what_it_fetches_and_is_kept(publish, squeeze, caplog):
    publish()
    with caplog.at_level("WARNING"):  # which is shown also by tools, where nobody sets logging up
        heads = store.find("lpips_squeeze")
    assert_same(heads, squeeze["heads"])
    assert re.search(r"downloading lpips_squeeze: LPIPS v0\.1 heads .*, 11 KB, from http://127\.0\.0\.1", caplog.text)
    caplog.clear()
    with caplog.at_level("INFO"):
        store.find("lpips_squeeze")
    assert not caplog.text  # found in the cache


def test_a_download_is_kept_elsewhere_where_the_cache_is_read_only(publish, squeeze, monkeypatch, caplog):
    publish()
    monkeypatch.setattr(os, "access", lambda *_: False)
    files._temporary_folder.cache_clear()
    for _ in range(2):
        assert_same(store.find("lpips_squeeze"), squeeze["heads"])
    assert caplog.text.count("is read-only") == caplog.text.count("downloading") == 1
    assert not store.cached_path("lpips_squeeze").exists()
    files.remove_temporary_folder()
    files._temporary_folder.cache_clear()


def test_a_full_temporary_folder_is_not_taken_for_a_wrong_address(publish, monkeypatch):
    publish()
    full = r"squeeze\.npz cannot be written \(No space left .*set TMPDIR to another folder"
    with Path("/dev/full").open("wb", 0) as file, pytest.raises(UserError, match=full):
        monkeypatch.setattr(store, "open", lambda *_: file, raising=False)
        store.find("lpips_squeeze")


def test_another_file_at_the_address_is_refused(publish):
    publish(sha256=8 * "00000000")
    with pytest.raises(UserError, match=r"another file: its sha256 starts with [0-9a-f]{8}, not 00000000"):
        store.find("lpips_squeeze")
    assert not store.cached_path("lpips_squeeze").exists()


def test_a_download_that_breaks_off_is_refused(publish, monkeypatch):
    publish()
    monkeypatch.setattr(Server, "announced", 100)
    with pytest.raises(UserError, match="could not be downloaded from"):
        store.find("lpips_squeeze")
    assert not store.cached_path("lpips_squeeze").exists()


@pytest.mark.parametrize("name", [name for name, network in PERCEPTUAL.items() if network.files])
def test_without_weights_the_places_and_the_alternative_are_named(name, cache):
    with pytest.raises(UserError) as error:
        load_perceptual(name)
    entry = registry.FILES[PERCEPTUAL[name].weights]
    message = str(error.value)
    assert "\n" not in message and str(cache) in message and entry.filename in message
    assert entry.address in message
    assert f"fastgan weights --import FILE {entry.name}" in message
    assert "here already" not in message


def test_training_without_weights_names_what_needs_none(cache):
    config = base.get_config()
    with pytest.raises(UserError, match=r"vgg16-397923af\.pth elsewhere.*loss\.perceptual_weights=FILE") as error:
        pretrained_from_config(config)
    assert str(error.value).endswith("or use loss.reconstruction=l1, which needs no weights")


def test_heads_that_are_missing_are_named(tmp_path, squeeze):
    path = write(tmp_path / "b.npz", torch_arrays(squeeze))
    with pytest.raises(UserError, match=r"the weights lpips_squeeze .* --import FILE lpips_squeeze"):
        load_perceptual("squeeze", path)


def test_networks_that_are_here_are_named(tmp_path, squeeze):
    store.import_file(write(tmp_path / "keras.npz", keras_arrays(squeeze)), "squeezenet_caffe")
    with pytest.raises(UserError, match=r"\(here already: squeeze_caffe\)$"):
        load_perceptual("vgg")


def test_damaged_weights_in_the_cache_are_named(tmp_path, squeeze):
    kept = store.import_file(write(tmp_path / "keras.npz", keras_arrays(squeeze)), "squeezenet_caffe")
    kept.write_bytes(kept.read_bytes()[:1000])
    with pytest.raises(UserError, match=rf"delete {re.escape(str(kept))} and run the same command again"):
        load_perceptual("squeeze_caffe")


def test_an_unpublished_file_that_fits_is_taken_and_the_log_says_so(tmp_path, squeeze, caplog):
    store.import_file(write(tmp_path / "x.npz", heads_arrays(squeeze)), "lpips_squeeze")
    assert "is not the published file of lpips_squeeze" in caplog.text


def test_the_tool_lists_fetches_and_imports(tmp_path, squeeze, capsys):
    tool = load_tool("weights")
    assert tool.main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in registry.FILES) and "not present" in listed
    assert tool.main(["--import", str(write(tmp_path / "x.npz", heads_arrays(squeeze))), "lpips_squeeze"]) == 0
    assert capsys.readouterr().out.strip() == str(store.cached_path("lpips_squeeze"))
    assert tool.main(["--list"]) == 0
    assert f"present: {store.cached_path('lpips_squeeze')}" in capsys.readouterr().out
    assert tool.main(["--fetch", "lpips_squeeze"]) == 0  # without network
    assert capsys.readouterr().out == f"present: {store.cached_path('lpips_squeeze')}\n"
    assert tool.main(["--fetch", "vgg16"]) == 2
    assert capsys.readouterr().err.startswith("error: the weights vgg16 ")
