"""Every setting once, with its unit and the meaning of None; the presets override a few of them.

Base values are the method's own (paper, section 4, and its reference program) at 256x256.
"""

import ml_collections
from ml_collections.config_dict import placeholder


def get_config() -> ml_collections.ConfigDict:
    """Returns the full configuration with the method's default of each field."""
    config = ml_collections.ConfigDict()

    data = config.data = ml_collections.ConfigDict()
    data.path = placeholder(str)  # folder (searched recursively), .zip or .array_record of images; None: another source
    data.tfds = placeholder(str)  # tensorflow-datasets name, prepared as array_record; None: another source is set
    data.tfds_split = "train"  # split of data.tfds, in its slicing syntax
    data.hf = placeholder(str)  # data set on the Hugging Face hub, or a local one of that kind; None: another source
    data.hf_split = "train"  # split of data.hf, in the slicing syntax of `datasets`
    data.hf_column = placeholder(str)  # column of data.hf with the images; None: the only one that holds images
    data.hf_labels = placeholder(str)  # column of data.hf with the classes of model.num_classes; None: label
    data.demo_images = placeholder(int)  # number of procedural demo images to draw; None: another source is set
    data.demo_seed = 0  # seed of the procedural demo images
    data.labels = placeholder(str)  # classes by a file: JSON as StyleGAN's, or CSV file,label; None: by subfolders
    data.fit = "squash"  # other aspects: squash (distort, as the reference) | crop (center) | pad (with background)
    data.background = "white"  # color under transparency and around padding: a CSS name or #rrggbb
    data.cache_dir = placeholder(str)  # decoded images are kept here; None: the user's cache folder
    data.resident = "auto"  # whole set in device memory: auto (when it takes at most 2 GiB) | true | false (streamed)
    data.flip = True  # mirror each drawn image left-right with probability 1/2

    model = config.model = ml_collections.ConfigDict()
    model.resolution = 256  # side of the images in pixels: a power of two from 64 to 2048
    model.channels = 3  # 1 (gray) | 3 (RGB) | 4 (RGB and learned alpha)
    model.ngf = 64  # width multiplier of the generator
    model.ndf = 64  # width multiplier of the discriminator
    model.nz = 256  # length of the latent vector z
    model.num_classes = 0  # classes the generator is conditioned on (subfolders, or data.labels); 0: unconditional
    model.skip_excitation = True  # skip-layer excitation in the generator; False: the paper's ablation
    model.attention = False  # efficient attention in the generator at 4, 8 and 16 pixels
    model.discriminator_skip_excitation = True  # the same in the discriminator (reference; the paper has none there)
    model.discriminator_attention = False  # efficient attention in the discriminator at 16 and 8 pixels
    model.discriminator = "fastgan"  # fastgan | projected (features of a frozen network, Sauer et al. 2021) | both
    model.feature_weights = placeholder(str)  # file with the weights of that network; None: the package of [projected]
    model.decoders = "big,part,small"  # reconstruction decoders of the discriminator, also: mid; "" for none
    model.part = "quadrant"  # what the decoder "part" reconstructs: quadrant (reference) | eighth of the side (paper)
    model.self_supervision = ""  # of contrastive, aspect, rotation: tasks of the discriminator (paper's table 6)
    model.num_instances = 0  # training images that "contrastive" tells apart: their number; 0: without that task
    model.sle_activation = "swish"  # inside skip-layer excitation: swish (reference) | leaky_relu (paper's text)
    model.output_tanh = placeholder(bool)  # tanh on the generator's outputs; None: only from 1024 up (reference)
    model.logits_map = 5  # side of each head's map of logits: 5 (reference) | 1
    model.output_bias = False  # a bias on the generator's last convolution
    model.stages = "alternating"  # upsampling stages: alternating (reference) | composite (all) | simple (all)
    model.normalize_latent = False  # scale latents to mean square 1, as projected GANs do
    model.resize = "nearest"  # how the discriminator's small view and targets are made: nearest (reference) | antialias

    loss = config.loss = ml_collections.ConfigDict()
    loss.adversarial = "hinge"  # hinge (reference) | relativistic_hinge | logistic | relativistic_pairing
    loss.projected_weight = 1.0  # of the projected discriminators in the generator's loss, with discriminator "both"
    loss.lecam = 0.0  # weight of LeCam regularization of the discriminator's logits (Tseng et al. 2021); 0: none
    loss.r1 = 0.0  # weight of the gradient penalty on real images (Mescheder et al. 2018), half the squared length
    loss.r2 = 0.0  # the same on generated images; both of what D takes: full and small image, or feature maps
    loss.penalty_every = 1  # iterations per computation, weighing as much more (Karras et al. 2020); no faster on CPUs
    loss.smoothing = 0.2  # margins of the hinge are uniform from 1 - this to 1: 0.2 (reference) | 0 (paper)
    loss.reconstruction = "lpips"  # lpips (reference) | l1 | l2 | none: as model.decoders=""
    loss.reconstruction_weight = placeholder(float)  # times the batch mean; None: the batch size (reference)
    loss.self_supervision_weight = 1.0  # of the sum of the losses of model.self_supervision
    loss.perceptual_net = "vgg"  # of lpips: vgg (reference) | squeeze (far cheaper) | squeeze_caffe (not LPIPS)
    loss.perceptual_weights = placeholder(str)  # local file with its weights; None: the user's cache, then download

    augment = config.augment = ml_collections.ConfigDict()
    augment.policy = "color,translation"  # of color, (small_)translation, cutout, offset(_h, _v); "" for none
    augment.probability = 1.0  # share of images that are augmented, in [0, 1]
    augment.target = placeholder(float)  # sign of D's real logits that the probability adapts to, say 0.6; None: fixed
    augment.adaptation = 100_000  # images in which it moves by 1 (Karras et al. 2020: 500,000); short runs need fewer
    augment.shared = False  # one draw for both scales of a generated image; False: one each (reference)

    optim = config.optim = ml_collections.ConfigDict()
    optim.learning_rate = 2e-4  # of Adam, both networks
    optim.final_learning_rate = placeholder(float)  # reached linearly at train.iterations; None: constant
    optim.beta1 = 0.5  # of Adam
    optim.beta2 = 0.999  # of Adam
    optim.ema_decay = 0.999  # per iteration, of the generator's averaged parameters
    optim.ema_warmup = False  # a decay of at most (1 + t) / (10 + t) at iteration t, so that early averages do not lag

    train = config.train = ml_collections.ConfigDict()
    train.iterations = 50_000  # one update of the discriminator each, and one of the generator by generator_every
    train.generator_every = 1  # iterations between updates of the generator and its average; no faster on CPUs
    train.batch_size = 8  # images per iteration
    train.devices = placeholder(int)  # number of devices that split each batch; the result is that of one; None: all
    train.seed = 0  # of everything random in the run
    train.init_from = placeholder(str)  # run folder or .pth whose networks this run begins with; None: fresh ones
    train.init_step = "latest"  # checkpoint of that run: latest | best | an iteration
    train.freeze_discriminator = 0  # layers of D, from the image on, that stay as in train.init_from (FreezeD); 0: none
    # Parameters and statistics stay float32. JAX's default multiplies float32 in TF32 on GPUs, in bfloat16 on TPUs.
    train.precision = "float32"  # of activations: float32 | bfloat16
    train.remat = "none"  # recompute activations in backward passes: none | blocks (not D's decoders) | full (all)
    train.accumulate = 1  # micro-batches that a batch is cut into (less memory); batch norm sees one at a time
    train.ops = "auto"  # equal ways to compute: auto (the fastest known, docs/performance.md) | reference (the plain)
    train.scan = placeholder(int)  # iterations per device call; None: 1 on CPU, else the largest up to 10 that fits
    train.on_nonfinite = "stop"  # a loss or gradient that is not finite: stop | rollback (to a checkpoint, new draws)
    train.log_every = 100  # iterations between lines of metrics.jsonl
    train.loggers = "tensorboard"  # of tensorboard, wandb, csv: where numbers go beside metrics.jsonl; "" for none
    train.sample_every = 1_000  # iterations between sample grids
    train.checkpoint_every = 5_000  # iterations between checkpoints
    train.keep = 3  # newest checkpoints kept (that of iteration 0 and the best are kept too); None: all
    train.num_samples = 16  # images in a sample grid; with classes, about so many, in a row for each

    evaluation = config.eval = ml_collections.ConfigDict()
    evaluation.every = placeholder(int)  # iterations between evaluations; None: none while training
    evaluation.metrics = "fid"  # joined by commas: fid, frechet, kid, layout, swd, ..., see docs/evaluation.md
    evaluation.num_samples = 5_000  # generated images that are evaluated (paper: 5,000)
    evaluation.best_metric = "fid"  # a number of eval.metrics: the checkpoint with the best one is kept
    evaluation.features = "inception"  # inception (for fid) | efficientnet_lite0 | squeeze | squeeze_caffe
    evaluation.feature_weights = placeholder(str)  # local file with its weights; None: the cache, then download
    evaluation.resize = "legacy"  # to the network's input: legacy (as most published FIDs) | clean (antialiased)
    evaluation.seed = 1_000_003  # of the latents of evaluated images

    return config
