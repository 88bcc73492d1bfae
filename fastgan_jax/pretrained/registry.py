"""The pretrained files that this package can use, as their authors publish them."""

import re
from dataclasses import dataclass

from fastgan_jax.errors import UserError


@dataclass(frozen=True)
class PretrainedFile:
    """A published file.

    Attributes:
        name: what this package calls it.
        content: what it holds, and its authors.
        addresses: where it is published, in the order to try; none for files that can only be imported.
        filename: its published name.
        megabytes: size of the published file.
        sha256: hash of the published file in hexadecimal digits, as many of the first as are published.
        license: of the weights.
        use: the setting that needs it.
    """

    name: str
    content: str
    addresses: tuple[str, ...]
    filename: str
    megabytes: float
    sha256: str
    license: str
    use: str


TORCHVISION = "https://download.pytorch.org/models"
LPIPS = "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1"
PYTORCH_FID = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights"

_FILES = (
    PretrainedFile(
        "vgg16",
        "VGG-16 trained on ImageNet (torchvision); the convolutions are kept, 59 MB",
        (f"{TORCHVISION}/vgg16-397923af.pth",),
        "vgg16-397923af.pth",
        553.0,
        "397923af",
        "BSD-3-Clause",
        "loss.perceptual_net=vgg",
    ),
    PretrainedFile(
        "squeezenet1_1",
        "SqueezeNet 1.1 trained on ImageNet (torchvision)",
        (f"{TORCHVISION}/squeezenet1_1-b8a52dc0.pth",),
        "squeezenet1_1-b8a52dc0.pth",
        5.0,
        "b8a52dc0",
        "BSD-3-Clause",
        "loss.perceptual_net=squeeze",
    ),
    PretrainedFile(
        "squeezenet_caffe",
        "SqueezeNet 1.1 trained on ImageNet (its authors' Caffe model, as in the Keras port: .h5 or .npz)",
        (),
        "squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5",
        2.9,
        "",
        "MIT",
        "loss.perceptual_net=squeeze_caffe, eval.features=squeeze_caffe",
    ),
    PretrainedFile(
        "lpips_vgg",
        "LPIPS v0.1 heads for VGG-16 (Zhang et al. 2018)",
        (f"{LPIPS}/vgg.pth",),
        "vgg.pth",
        0.0073,
        "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
        "BSD-2-Clause",
        "loss.perceptual_net=vgg",
    ),
    PretrainedFile(
        "lpips_squeeze",
        "LPIPS v0.1 heads for SqueezeNet 1.1 (Zhang et al. 2018)",
        (f"{LPIPS}/squeeze.pth",),
        "squeeze.pth",
        0.0108,
        "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76",
        "BSD-2-Clause",
        "loss.perceptual_net=squeeze",
    ),
    PretrainedFile(
        "inception",
        "Inception-v3 of FID (TensorFlow's 2015-12-05 network, as converted by pytorch-fid)",
        (f"{PYTORCH_FID}/pt_inception-2015-12-05-6726825d.pth",),
        "pt_inception-2015-12-05-6726825d.pth",
        91.2,
        "6726825d",
        "Apache-2.0",
        "eval.features=inception",
    ),
)
REGISTRY: dict[str, PretrainedFile] = {file.name: file for file in _FILES}


def registered(name: str) -> PretrainedFile:
    """The entry of a name.

    Raises:
        UserError: if there is none.
    """
    if name not in REGISTRY:
        parts = [file.name for file in _FILES if re.search(rf"={re.escape(name)}\b", file.use)]
        hint = f"; the network {name} consists of {' and '.join(parts)}" if parts else ""
        raise UserError(f"there are no weights called {name!r}: choose one of {', '.join(REGISTRY)}{hint}")
    return REGISTRY[name]
