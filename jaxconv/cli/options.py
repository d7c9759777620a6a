"""The options of each command: the fields of one class, with defaults and help."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument, Option


@dataclass(frozen=True, kw_only=True)
class Learn:
    """The options of `jaxconv learn`."""

    before: Annotated[
        Path | None, Argument(help="The image before the filter: png, jpeg or tiff.")
    ] = None
    after: Annotated[
        Path | None, Argument(help="The same image after it: as large, or cut to 'valid'.")
    ] = None
    pairs: Annotated[
        list[str] | None,
        Option(
            "--pair",
            metavar="BEFORE:AFTER",
            help="Two more images, of any size, that the same kernel is learned from. May be given "
            "several times.",
        ),
    ] = None
    kernel: Annotated[
        str | None, Option(help="Size of the kernel to learn, HxW or one number for a square.")
    ] = None
    masks: Annotated[
        list[Path] | None,
        Option(
            "--mask",
            help="An image of AFTER's size: its pixels of 0 are left out. One for each pair.",
        ),
    ] = None
    masks_before: Annotated[
        list[Path] | None,
        Option(
            "--mask-before",
            help="An image of BEFORE's size: outputs that read its pixels of 0 are left out. One "
            "for each pair.",
        ),
    ] = None
    saturated: Annotated[
        str | None,
        Option(
            help="LEVEL, or LOW:HIGH, as stored: values at or beyond it are left out, in both "
            "images; or none (default: the ends of an integer type's range, in AFTER, if many "
            "values are there)"
        ),
    ] = None
    target: Annotated[
        str | None, Option(help="The hidden kernel of the demonstration (default: sobel_x)")
    ] = None
    photo: Annotated[
        str | None, Option(help="The demonstration's photograph, name or file (default: camera)")
    ] = None
    out: Annotated[Path, Option(help="Folder for the results.")] = Path("learned")
    steps: Annotated[
        int | None,
        Option(
            help="Steps of the optimiser (default: sgd 40, lbfgs 60, adam 500, constrained 300)"
        ),
    ] = None
    optimizer: Annotated[str, Option(help="sgd (whitened), lbfgs or adam.")] = "sgd"
    learning_rate: Annotated[
        float | None, Option(help="For sgd (default: 0.25) and adam (default: 0.1).")
    ] = None
    constraints: Annotated[
        list[str] | None,
        Option(
            "--constraint",
            help="A condition on the kernel: non_negative, sum_to_one, simplex (both), symmetric, "
            "separable or separable:RANK. May be given several times.",
        ),
    ] = None
    one_kernel: Annotated[
        bool, Option("--one-kernel", help="Learn one kernel for all colours, not one each.")
    ] = False
    bias: Annotated[bool, Option(help="Learn a constant shift too.")] = True
    exact: Annotated[
        bool,
        Option("--exact", help="Print the least-squares solution beside the learned kernel."),
    ] = False
    seed: Annotated[
        int | None, Option(help="Start from a random kernel of this seed, not from zeros.")
    ] = None
    checkpoint: Annotated[
        Path | None, Option(help="Folder to keep the run in, so that it can be resumed.")
    ] = None
    checkpoint_every: Annotated[
        int | None, Option(help="Steps between checkpoints (default: a twentieth of the steps)")
    ] = None
    resume: Annotated[
        bool, Option("--resume", help="Go on from the last checkpoint, if there is one.")
    ] = False
    metrics: Annotated[
        Path | None, Option(help="Write the loss of each step here: .csv or .jsonl.")
    ] = None
    tensorboard: Annotated[
        Path | None, Option(help="Write the losses for TensorBoard into this folder.")
    ] = None
    json: Annotated[bool, Option("--json", help="Print one JSON object instead of tables.")] = False


@dataclass(frozen=True, kw_only=True)
class Info:
    """The options of `jaxconv info`."""

    policy: Annotated[
        Path | None, Option(help="Describe this policy too: what calibrate wrote, or Policy.save.")
    ] = None
    json: Annotated[bool, Option("--json", help="Print one JSON object instead of tables.")] = False


@dataclass(frozen=True, kw_only=True)
class _Named:
    """A function of a file, and its arguments."""

    function: Annotated[
        str, Argument(help="FILE.py:NAME of a function, or of a model that can be called.")
    ]
    arrays: Annotated[
        list[str] | None,
        Argument(help="Its arguments, by dtype and shape, as float32[8,32,32,3]."),
    ] = None
    gradients: Annotated[
        bool,
        Option(
            "--gradients",
            help="Of the sum of its results too, in its arguments and an NNX model's parameters.",
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class Explain(_Named):
    """The options of `jaxconv explain`."""

    platform: Annotated[
        str | None, Option(help="cpu, gpu or tpu (default: that of this machine)")
    ] = None
    seconds: Annotated[
        float | None,
        Option(help="Measure the methods of each convolution for so long, on this device."),
    ] = None
    json: Annotated[bool, Option("--json", help="Print JSON instead of a table.")] = False


@dataclass(frozen=True, kw_only=True)
class Tune(_Named):
    """The options of `jaxconv tune`."""

    output: Annotated[Path, Option(help="File to write, for jaxconv.Policy.load.")] = Path(
        "policy.json"
    )
    seconds: Annotated[float, Option(help="How long to measure each convolution.")] = 0.2
    method: Annotated[
        str, Option(help="auto; or fastest, to measure FFT too, which may spread NaN.")
    ] = "auto"


@dataclass(frozen=True, kw_only=True)
class Calibrate:
    """The options of `jaxconv calibrate`."""

    output: Annotated[Path, Option(help="File to write, for jaxconv.Policy.load.")] = Path(
        "machine.json"
    )
    seconds: Annotated[float, Option(help="How long to measure, compilation included.")] = 150.0


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The options of `jaxconv bench`."""

    suite: Annotated[
        str | None,
        Option(
            help="filters,networks,learn,models,steps,known, or regret alone. Default: these but "
            "known; on accelerators filters,networks,steps,known."
        ),
    ] = None
    only: Annotated[str, Option(help="Regular expression that 'suite: case, mode' must match.")] = (
        ""
    )
    quick: Annotated[bool, Option("--quick", help="A few cases, less time each.")] = False
    method: Annotated[
        str,
        Option(help="Force one of our methods; every: a row for each that serves, beside auto."),
    ] = "auto"
    precision: Annotated[
        str,
        Option(
            help="float32, strictly; tf32: float32 arrays, TF32 where the device has it; bfloat16 "
            "arrays. The last two in filters, networks, steps and known."
        ),
    ] = "float32"
    against: Annotated[
        str | None,
        Option(
            help="Peers, with commas: lax, torch, torch.compile, scipy, opencv, float32 (beside "
            "which our bfloat16 is measured), causal-conv1d. Default: all that run on the device."
        ),
    ] = None
    budget: Annotated[
        float | None,
        Option(
            help="Seconds of timing a case, in steps three times as many (default: 1.5, with "
            "--quick 0.4)."
        ),
    ] = None
    profile: Annotated[
        bool,
        Option(
            "--profile",
            help="With --suite steps: where the time goes, operation by operation, beside torch's.",
        ),
    ] = False
    json: Annotated[Path | None, Option(help="Write every number to this file.")] = None
    plot: Annotated[Path | None, Option(help="Draw the ratios into this file.")] = None
    count: Annotated[int, Option(help="Random shapes of the regret suite.")] = 300
    seed: Annotated[int, Option(help="Of the regret suite's shapes.")] = 0
    policy: Annotated[
        Path | None, Option(help="The regret suite's choices with this policy too, from calibrate.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class _Image:
    """Which axes of an image file are what, and whether a file may be replaced."""

    axes: Annotated[
        str | None,
        Option(
            help="A letter an axis of the image, where its file does not say: ZYX a volume or "
            "stack, C or S channels, T or any other a stack, as in TZCYX."
        ),
    ] = None
    kernel_axes: Annotated[
        str | None, Option(help="Of a .npy kernel: YX, ZYX, CYX (one a channel) or CZYX.")
    ] = None
    page: Annotated[
        int | None, Option(help="This page of a stack alone, from 0 (default: all pages).")
    ] = None
    level: Annotated[
        int | None, Option(help="This level of a pyramid, from 0, the full resolution.")
    ] = None
    overwrite: Annotated[
        bool, Option("--overwrite", help="Replace the file to write, if it exists.")
    ] = False


@dataclass(frozen=True, kw_only=True)
class Apply(_Image):
    """The options of `jaxconv apply`."""

    image: Annotated[
        Path,
        Argument(help="The image or stack: png, jpeg, tiff or zarr; with --tile tiff or zarr."),
    ]
    output: Annotated[
        Path | None, Argument(help="The file to write (default: IMAGE-KERNEL beside it).")
    ] = None
    kernel: Annotated[
        str,
        Option(
            help="A name such as sobel_x, or what learn wrote: its folder, .csv or .npy, with its "
            "bias except in .npy. A .npy of (d, h, w) filters volumes."
        ),
    ]
    scale: Annotated[
        str | None,
        Option(
            help="clip to 0..1; signed: mid-grey is 0, scaled so that nothing clips; stretch: "
            "smallest to largest, filters twice; none. Default: none for floating-point and signed "
            "files, signed for named kernels with negative weights, else clip."
        ),
    ] = None
    mode: Annotated[
        str,
        Option("--padding-mode", help="Outside: symmetric, reflect, replicate, circular or zeros."),
    ] = "symmetric"
    cut: Annotated[
        bool, Option("--cut", help="Keep only where the kernel lies inside the image.")
    ] = False
    tile: Annotated[
        int | None,
        Option(help="Filter in tiles (cubes) of this side, for images on disk: tiff or zarr."),
    ] = None
    resume: Annotated[bool, Option("--resume", help="Continue an interrupted run with --tile.")] = (
        False
    )
    method: Annotated[
        str, Option(help="auto (direct sums); fastest, which may take FFT; or a method's name.")
    ] = "auto"


@dataclass(frozen=True, kw_only=True)
class Restore(_Image):
    """The options of `jaxconv restore`."""

    image: Annotated[
        Path,
        Argument(help="The blurred image: png, jpeg, tiff or zarr; with --tile tiff or zarr."),
    ]
    output: Annotated[
        Path | None, Argument(help="The file to write (default: IMAGE-restored beside it).")
    ] = None
    kernel: Annotated[
        str,
        Option(
            help="The blur: what learn wrote, its folder, .csv or .npy, or a name. A .npy of "
            "(d, h, w) is the blur of volumes."
        ),
    ]
    method: Annotated[
        str,
        Option(
            help="wiener: one step; tikhonov: ends as they are; richardson-lucy: for counts, never "
            "negative."
        ),
    ] = "wiener"
    balance: Annotated[
        float | None,
        Option(help="How much wiener and tikhonov smooth (default: estimated from the image)."),
    ] = None
    noise: Annotated[
        float | None,
        Option(help="Standard deviation of the noise in the file's values, for that estimate."),
    ] = None
    steps: Annotated[
        int | None,
        Option(
            help="Steps of richardson-lucy (default: 30; with --stop at most 500), or most of "
            "tikhonov (default: 100)."
        ),
    ] = None
    stop: Annotated[
        float | None,
        Option(
            help="End richardson-lucy where the misfit is down to this: 1 for counts of photons."
        ),
    ] = None
    background: Annotated[
        float | None, Option(help="The value of the dark, for richardson-lucy (default: 0).")
    ] = None
    total_variation: Annotated[
        float | None,
        Option(help="Keep richardson-lucy from grain: 0.002 to 0.02 (default: 0, off)."),
    ] = None
    boundary: Annotated[
        str,
        Option(
            help="Beyond the image: unknown, circular; but for wiener also zeros, reflect, "
            "symmetric, replicate."
        ),
    ] = "unknown"
    convolution: Annotated[
        bool,
        Option(
            "--convolution",
            help="The kernel is that of a convolution, as the picture of a star is; learn's are "
            "of correlations.",
        ),
    ] = False
    tile: Annotated[
        int | None,
        Option(
            help="Restore in tiles (cubes) of this side, with three kernels around them, for "
            "images on disk: tiff or zarr."
        ),
    ] = None
    figure: Annotated[
        Path | None, Option(help="The picture to write (default: OUTPUT-before-after.png).")
    ] = None
