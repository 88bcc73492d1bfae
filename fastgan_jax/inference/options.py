"""Options of projection and probe, with their defaults and ranges. Quick to import: the commands read them too."""

from dataclasses import dataclass

from fastgan_jax.errors import UserError
from fastgan_jax.utils.checks import check_at_least_one, check_not_negative, check_positive, check_seed


@dataclass(frozen=True)
class ProjectionOptions:
    """How latents are searched for.

    `batch_size` images are searched for together. The last batch is padded to it, so that what is found for an image
    does not depend on the others; it depends on this number by rounding.
    """

    updates: int = 1000  # of Adam; as in the paper, like the next two
    learning_rate: float = 0.1  # of Adam
    mse_weight: float = 0.2  # of the mean squared difference of images in [-1, 1], beside LPIPS
    prior_weight: float = 0.01  # of the squared deviation of |z|^2, in standard deviations, see `projection`
    starts: int = 64  # sampled latents; each search begins at the one whose image is nearest to its target
    seed: int = 0  # of these latents, from 0 to 2^32 - 1
    noise_seed: int = 0  # of the noise that all images share, from 0 to 2^32 - 1
    batch_size: int = 8

    def check(self) -> None:
        """Raises UserError naming the first option that is out of its range."""
        check_at_least_one(updates=self.updates, starts=self.starts, batch_size=self.batch_size)
        check_positive(learning_rate=self.learning_rate)
        check_not_negative(mse_weight=self.mse_weight, prior_weight=self.prior_weight)
        check_seed(self.seed, "seed")
        check_seed(self.noise_seed, "noise_seed")


@dataclass(frozen=True)
class ProbeOptions:
    """How the decoders are trained and evaluated.

    `seed` decides the choice of held-out images, the decoders' initial values and the order of images: with equal
    seeds, checkpoints are compared on the same images.
    """

    iterations: int = 1000  # updates of the decoders
    batch_size: int = 8  # images per iteration
    learning_rate: float = 2e-4  # of Adam
    held_out: float = 0.15  # share of the images on which the decoders are evaluated; at least one is
    seed: int = 0

    def check(self) -> None:
        """Raises UserError naming the first option that is out of its range."""
        check_at_least_one(iterations=self.iterations, batch_size=self.batch_size)
        check_positive(learning_rate=self.learning_rate)
        if not 0 < self.held_out < 1:
            raise UserError(f"held_out={self.held_out}: must be between 0 and 1, such as 0.15")
        check_seed(self.seed, "seed")
