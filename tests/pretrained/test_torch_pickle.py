"""Reading .pth files: every kind of tensor that torch writes, and no code."""

import io
import os
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from faults.fuzz import fresh_peak, peak

from fastgan_jax.errors import UserError
from fastgan_jax.pretrained.torch_pickle import _rebuild_tensor, read_torch_file


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="needs PyTorch to write the files that are read")


def test_all_kinds_of_tensors_come_back(torch, tmp_path):
    kinds = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16]
    kinds += [torch.int8, torch.uint8, torch.bool]
    base = torch.arange(24).reshape(4, 6)
    saved = OrderedDict((str(kind), base.to(kind)) for kind in kinds)
    saved["transposed"] = base.float().T
    saved["row of a shared storage"] = base[2, 1:4]
    saved["scalar"] = torch.tensor(3.5)
    saved["empty"] = torch.zeros(0, 4)
    saved["parameter"] = torch.nn.Parameter(torch.ones(2))
    saved["nested"] = {"list": [1, 2.5, "text", None, True], "tuple": (1, 2), "size": base.shape}
    torch.save(saved, tmp_path / "x.pth")
    read = read_torch_file(tmp_path / "x.pth")
    assert list(read) == list(saved)
    for name, value in saved.items():
        if isinstance(value, torch.Tensor):
            wide = value.detach().float() if value.dtype == torch.bfloat16 else value.detach()
            np.testing.assert_array_equal(read[name], wide.numpy())
            assert read[name].dtype == wide.numpy().dtype
    assert read["nested"] == {"list": [1, 2.5, "text", None, True], "tuple": (1, 2), "size": (4, 6)}


def test_a_tensor_is_no_storage_of_another():
    """It could have many rows without a single value, and the other would read what lies behind it."""
    with pytest.raises(ValueError, match="does not fit its storage"):
        _rebuild_tensor(np.zeros((1000, 0)), 0, (1000,), (1,))


def write_pickle(path, content: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)


class Evil:
    """A pickle of this would run a command when loaded in the ordinary way."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path):
    write_pickle(tmp_path / "evil.pth", pickle.dumps({"g": Evil(tmp_path / "ran")}))
    with pytest.raises(UserError, match=r"evil\.pth: its pickle calls (posix|nt)\.system, which is refused"):
        read_torch_file(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


class Reference:
    """Written as a persistent reference of an unknown kind."""


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04Nr\xff\xff\xff\x1f.",
        b"\x80\x02Np500000000\n.",
        b"\x80\x05\x96" + (2**33).to_bytes(8, "little") + b"a.",
    ],
    ids=["kept far away", "kept far away, in words", "longer than the file"],
)
def test_a_pickle_takes_no_more_memory_than_it_needs(tmp_path, content):
    write_pickle(tmp_path / "bomb.pth", content)
    before = fresh_peak()
    with pytest.raises(UserError, match="damaged"):
        read_torch_file(tmp_path / "bomb.pth")
    assert peak() - before < 2**28, "256 MB"


def test_references_to_other_things_are_refused(tmp_path):
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer)
    pickler.persistent_id = lambda value: ("module", "x", "0", "cpu", 1) if isinstance(value, Reference) else None
    pickler.dump(Reference())
    write_pickle(tmp_path / "x.pth", buffer.getvalue())
    with pytest.raises(UserError, match="refers to a module, which is refused"):
        read_torch_file(tmp_path / "x.pth")


def test_other_files_are_named(tmp_path):
    with pytest.raises(UserError, match="nothing.pth: no such file"):
        read_torch_file(tmp_path / "nothing.pth")
    with pytest.raises(UserError, match=r" is a folder: give a file, such as a \.pth \(macOS unzips"):
        read_torch_file(tmp_path)
    (tmp_path / "text.pth").write_text("no zip")
    with pytest.raises(UserError, match="text.pth is damaged, or not a PyTorch file"):
        read_torch_file(tmp_path / "text.pth")
    write_pickle(tmp_path / "cut.pth", pickle.dumps({"a": 1})[:5])
    with pytest.raises(UserError, match="cut.pth is damaged"):
        read_torch_file(tmp_path / "cut.pth")


def test_a_tensor_larger_than_its_storage_is_damage(torch, tmp_path):
    torch.save({"a": torch.zeros(4)}, tmp_path / "x.pth")
    with zipfile.ZipFile(tmp_path / "x.pth") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "short.pth", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content[:8] if "/data/" in name else content)
    with pytest.raises(UserError, match=r"a tensor of shape \[4\] does not fit its storage of 2 values"):
        read_torch_file(tmp_path / "short.pth")


def legacy_file(torch, path, saved) -> None:
    torch.save(saved, path, _use_new_zipfile_serialization=False)


def test_files_from_before_pytorch_1_6_are_read(torch, tmp_path):
    base = torch.arange(24).reshape(4, 6)
    saved = OrderedDict(a=base.float().T, half=base.to(torch.bfloat16), row=base[2, 1:4], again=base, step=7)
    legacy_file(torch, tmp_path / "x.pth", saved)
    assert not zipfile.is_zipfile(tmp_path / "x.pth")
    read = read_torch_file(tmp_path / "x.pth")
    assert read.pop("step") == 7
    for name, value in read.items():
        np.testing.assert_array_equal(value, saved[name].float().numpy())


def test_a_legacy_file_that_is_cut_off_is_damaged(torch, tmp_path):
    legacy_file(torch, tmp_path / "x.pth", {"a": torch.ones(1000)})
    whole = (tmp_path / "x.pth").read_bytes()
    for length in (10, 200, len(whole) - 1):
        (tmp_path / "x.pth").write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"x\.pth is damaged, or not a PyTorch file"):
            read_torch_file(tmp_path / "x.pth")


def test_code_in_a_legacy_file_is_refused(tmp_path):
    from fastgan_jax.pretrained.torch_pickle import LEGACY_MAGIC, LEGACY_PROTOCOL

    pickles = [LEGACY_MAGIC, LEGACY_PROTOCOL, {}, Evil(tmp_path / "ran")]
    (tmp_path / "evil.pth").write_bytes(b"".join(pickle.dumps(value) for value in pickles))
    with pytest.raises(UserError, match="which is refused"):
        read_torch_file(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()
