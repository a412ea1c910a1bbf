"""The experiment as typed, frozen dataclasses. Their docstrings are what `--help` shows."""

import dataclasses
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval, Le, Lt

from hwnas_jax.files.typed import Amount, SafeName
from hwnas_jax.registry import Options, Part

Count = Annotated[int, Gt(0)]
CountOrNone = Annotated[int, Gt(0)] | None
AtLeastZero = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Gt(0), Lt(1)]


def _part(name: str, **args: Any) -> Any:
    return dataclasses.field(default_factory=lambda: Part(name, dict(args)))


def _args(**values: Any) -> Any:
    return dataclasses.field(default_factory=lambda: dict(values))


@dataclasses.dataclass(frozen=True)
class SpaceConfig:
    """What can be built."""

    name: str = "nasbench201"
    """search space; `hwnas list` names them, or your own: my_space.py:MySpace, package:MySpace"""
    args: Options = _args(channels=8, cells=1)
    """the space's own arguments"""
    off: dict[str, tuple[str, ...]] = _args()
    """options that the device runs badly or not at all, by decision; both may be patterns:
    {"*": ("avg_pool*",)}"""


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Inputs and targets; shapes and the number of outputs come from the data themselves."""

    name: str | None = None
    """data source; `hwnas list` names them, any TFDS name, or your own: my_data.py:MyData; None
    takes the one that reads `path`, or without a path the built-in digits"""
    args: Options = _args()
    """the source's own options"""
    path: str | None = None
    """file or folder of the data, for a source that reads one: images in a folder for each class,
    arrays (.npz, .npy), a .csv of image files, idx files"""
    shift: AtLeastZero | None = None
    """augmentation: largest random shift in pixels; None takes 1 for images, and 0 for sequences
    and where targets belong to pixels"""
    flip: bool = False
    """augmentation: random left-right flips"""
    test_fraction: Share = 0.2
    """share held out for the test where a data set has no test split of its own"""
    resident: bool | None = None
    """training data whole on every device, or streamed; None streams with several processes"""


@dataclasses.dataclass(frozen=True)
class ProfileConfig:
    """Timing a sample of whole networks on a device, and operations where they help."""

    networks: Annotated[int, Ge(8)] | None = None
    """networks to time, chosen to tell most about the space; None takes one for every option that
    is free to be chosen, but at least 24 and at most 64"""
    held_out: AtLeastZero = 12
    """random networks timed beside them, to judge the cost model on"""
    operations: bool | None = None
    """whether the space's operations are timed too; None asks the cost model whether that helps"""
    batch_size: Count = 64
    """images per timed call; latencies are per call"""
    rounds: Count = 15
    """least timed rounds; each times everything that is not yet precise once, in random order"""
    max_rounds: Count = 150
    """most timed rounds"""
    precision: Positive = 0.02
    """a median is precise when its 95 % confidence interval is narrower than this share of it"""
    budget_s: Positive = 45.0
    """wall time after which only the least rounds are still timed; a third of it is for timing,
    the rest for compiling"""
    measure_rounds: Count = 30
    """least timed rounds where a few chosen networks are measured"""
    warmup: AtLeastZero = 3
    """untimed calls of everything before the first round"""
    device: str | None = None
    """platform, or platform:number, such as cpu or gpu:1; None takes the default device"""
    runtime: Literal["jax", "onnxruntime", "systolic"] = "jax"
    """what runs the networks; onnxruntime runs their export on the CPU; systolic computes what
    those of the space codesign cost on their accelerators"""
    threads: CountOrNone = None
    """onnxruntime: threads that share an operation; None takes a thread a core"""
    energy: bool = False
    """count the energy of every call too; NVIDIA GPUs only"""
    energy_s: Positive = 0.3
    """seconds of calls whose energy is counted in one go, three times over"""


@dataclasses.dataclass(frozen=True)
class CostConfig:
    """The learned cost model."""

    model: Part = _part("gaussian")
    """cost model; `hwnas list` names them, or your own: my_model.py:MyModel"""
    test_fraction: Share = 0.25
    """share of the measured networks held out to judge the model, where the measurements do not
    say which"""


@dataclasses.dataclass(frozen=True)
class TargetConfig:
    """What the networks may cost."""

    metric: str = "latency_ms"
    """the metric that has the budget, one that the cost model predicts; analytic also counts
    bit_operations and size_kib where precision is searched"""
    value: Amount | None = None
    """budget in the metric's own unit, milliseconds per call for latency_ms; None takes the
    percentile instead"""
    percentile: Annotated[float, Interval(ge=0, le=100)] = 50.0
    """budget as a percentile of the predicted cost over the space"""
    limits: dict[str, Amount] = _args()
    """upper limits on further metrics, each in its own unit: params 50000 macs 1e6"""
    confidence: Annotated[float, Interval(ge=0.5, lt=1)] | None = None
    """how sure a network must be to keep the budget, by the cost model's own uncertainty: 0.9
    means that the upper 90 % bound keeps it; None goes by the prediction"""
    samples: Count = 8
    """architectures drawn per step to estimate an expected cost where the cost model or the budget
    needs draws; each is judged with every option of every decision in turn"""
    measurements: AtLeastZero = 0
    """networks measured during the search to make the cost model surer near the budget"""
    measure_every: Count = 150
    """architecture steps between these measurements, rounded up to whole calls"""


@dataclasses.dataclass(frozen=True)
class TemperatureConfig:
    """The temperature of a relaxation: constant in the warm-up, then falling geometrically."""

    start: Positive = 2.0
    end: Positive = 0.2


@dataclasses.dataclass(frozen=True)
class WeightsConfig:
    """How the supernet's weights are trained."""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    """sgd, with Nesterov momentum, for convolutions; adamw for transformers, at a tenth of the
    learning rate or less"""
    learning_rate: Positive = 0.1
    learning_rate_end: NotNegative = 0.001
    decay: NotNegative = 5e-4
    clip_norm: Positive = 5.0
    frozen: bool = False
    """keep the weights of the run that `search.start_from` names as they are, and move the
    architecture's parameters alone"""


@dataclasses.dataclass(frozen=True)
class ElasticConfig:
    """Training the weights for networks of all sizes, where small ones are parts of large ones."""

    networks: Annotated[int, Ge(2)] | None = None
    """in the warm-up a step trains so many networks, each on the whole batch: the largest, the
    smallest and random ones between; None trains what the relaxation draws. With as many
    `warmup_steps` as `steps` the weights alone are trained, for `hwnas derive RUN --targets`"""
    shrinking: Annotated[float, Interval(ge=0, lt=1)] = 0.5
    """share of the warm-up in which smaller options are still being opened, one after another:
    kernels, then depths, then widths; 0 opens all from the start"""
    distil: Annotated[float, Interval(ge=0, le=1)] = 0.5
    """how much the other networks learn from the outputs of the largest: 1 from them alone, 0 from
    the targets alone"""


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """How an architecture is found: weights and architecture together, or by asking and telling."""

    data: DataConfig = DataConfig()
    """data that the search learns from, where they are not those of the experiment: a name or a
    path. The networks found are built, trained and tested for the experiment's own data"""
    strategy: Part = _part("gradient")
    """gradient optimises weights and architecture together; blockwise trains blocks to imitate a
    teacher (args teacher RUN); the others ask for architectures and are told what the evaluator
    found"""
    evaluator: Part = _part("supernet")
    """what judges the architectures that a strategy asks for"""
    rounds: Count = 100
    """how many times a strategy asks"""
    start_from: str | None = None
    """a finished run to begin with. A strategy takes its best networks in place of those that it
    draws at random, and its supernet judges. A gradient search takes its architecture parameters
    and its weights; the run may have learned another task"""
    start_with: Literal["both", "weights", "architecture", "network"] = "both"
    """gradient: what is taken of that run; network: its trained network, whose weights the same
    path of the supernet takes, even where that has more channels or cells"""
    relaxation: Part = _part("sampled_path")
    """gradient: how a choice becomes differentiable"""
    estimator: Part = _part("backprop")
    """gradient: how the gradient of the task reaches the architecture"""
    steps: Count = 1500
    """weight steps; each is followed by an architecture step after the warm-up"""
    warmup_steps: AtLeastZero = 1000
    """weight steps before the first architecture step"""
    batch_size: Count = 64
    """examples per step and half, over all devices"""
    steps_per_dispatch: Count = 50
    """steps compiled into one call; checkpoints and log lines fall between calls"""
    checkpoint_every: Count = 100
    """steps between checkpoints, rounded up to whole calls"""
    temperature: TemperatureConfig = TemperatureConfig()
    entropy: NotNegative = 0.0
    """gradient: weight of the mean entropy of the decisions in the architecture's loss at the last
    step; it grows evenly after the warm-up, so that the search ends on one network"""
    weights: WeightsConfig = WeightsConfig()
    draws: Count = 1
    """gradient: draws of gates in a step, each for an equal part of the batch"""
    fair: bool = False
    """gradient: in the warm-up the draws of a step are single paths, and run every option of a
    decision equally often; needs as many draws as the widest decision has options, or a multiple"""
    elastic: ElasticConfig = ElasticConfig()
    paths: Literal["shared", "own"] = "shared"
    """whether replicas draw one architecture or each its own; gradients are averaged either way"""
    accumulate: Count = 1
    """micro-batches that a step averages its gradients over; batch statistics are of each"""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """of activations and matrix products; parameters, statistics and losses stay float32"""
    rematerialise: bool = False
    """compute activations again in the backward pass instead of keeping them: slower, smaller"""

    @property
    def parts(self) -> int:
        """Parts that a step divides a replica's batch into."""
        return self.draws * self.accumulate


@dataclasses.dataclass(frozen=True)
class DeriveConfig:
    """From what the search found to networks worth training."""

    rule: Part = _part("halving")
    """in which order the networks that meet the budget are tried"""
    confirm: AtLeastZero = 4
    """networks of the search, and as many of each control, measured before retraining; 0 measures
    none"""
    controls: tuple[str, ...] | None = None
    """what the search is compared with, at the same number of trainings: random networks of the
    budget, no_search (the derivation from where the search began), most_macs (the most operations
    within the budget); None takes all of them for one search and none for a sweep"""


@dataclasses.dataclass(frozen=True)
class RetrainConfig:
    """Training derived networks from scratch, and those of the controls beside them.

    The network that is best on the validation data is the result.
    """

    networks: Count = 1
    """networks retrained for the search, and as many for each control; the best counts"""
    epochs: Count = 60
    batch_size: Count = 64
    steps_per_dispatch: Count = 50
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """as `search.weights.optimizer`"""
    learning_rate: Positive = 0.1
    weight_decay: NotNegative = 5e-3
    validation_fraction: Share = 0.1
    """share of the training data held out to choose among the networks"""
    accumulate: Count = 1
    """micro-batches that a step averages its gradients over; batch statistics are of each"""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """of activations and matrix products; parameters, statistics and losses stay float32"""
    start_from: str | None = None
    """a finished run whose network, the selected one, gives its weights to begin with, wherever
    they have a place; a larger network of the same options begins as what that network computes"""
    teacher: str | None = None
    """a finished run whose selected network is imitated beside the targets"""
    teacher_weight: Annotated[float, Gt(0), Le(1)] = 0.5
    """share of the loss that the teacher has; the targets have the rest"""
    teacher_temperature: Positive = 4.0
    """divides the logits of teacher and network before they become probabilities"""
    curriculum: tuple[Annotated[int, Ge(2)], ...] = ()
    """by how much the inputs are smaller at first, one factor a stage: 4 2 begins with means over
    4x4 pixels, goes on with 2x2, and ends with whole inputs"""
    curriculum_share: Share = 0.5
    """share of the steps that these stages have together"""


@dataclasses.dataclass(frozen=True)
class ParallelConfig:
    """Data parallelism over the devices of this machine, or of several processes."""

    devices: CountOrNone = None
    """how many local devices of each process; None takes all"""
    backend: Literal["pmap", "shard_map"] = "pmap"
    """which transformation replicates the step; both mean the same"""
    sync_batch_statistics: bool = False
    """average batch statistics over the replicas"""
    coordinator: str | None = None
    """several processes: host:port of process 0"""
    processes: CountOrNone = None
    """several processes: how many"""
    process: Annotated[int, Ge(0)] | None = None
    """several processes: the number of this one, from 0"""
    distributed: bool = False
    """several processes: detect them from Slurm, Cloud TPU or Open MPI"""
    initialization_timeout_s: Count = 120
    """seconds to wait for the coordinator and the other processes"""


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """Many searches in one program; read by `hwnas sweep` alone."""

    devices: CountOrNone = None
    """local devices the searches are spread over; None takes all"""
    within: Literal["auto", "map", "batch"] = "auto"
    """on one device: one search after another (map), or all batched; auto maps on CPU"""
    share_warmup: bool = True
    """searches of one seed share their warm-up, which does not depend on the target"""


@dataclasses.dataclass(frozen=True)
class FewShotConfig:
    """Learning a start for small tasks of few examples; read by `hwnas fewshot` alone."""

    learner: Part = _part("metanas")
    """how the start is learned from many tasks"""
    relaxation: Part = _part("annealed_softmax")
    """how a choice becomes differentiable; one whose parameters are logits"""
    way: Annotated[int, Ge(2)] = 5
    """classes of a task"""
    shots: Count = 1
    """examples of each class that a task is learned from"""
    train_shots: CountOrNone = None
    """as many while the start is learned; more of them help metanas. None takes `shots`"""
    queries: Count = 15
    """further examples of each class, by which a task is judged"""
    classes: tuple[int, int, int] | None = None
    """classes of the data to train on, to choose options by, and to test on; None divides them"""
    steps: Count = 2000
    """steps of the start"""
    warmup_steps: AtLeastZero = 1000
    """first steps in which the architecture's parameters stay where they are"""
    tasks: Count = 4
    """tasks of a step, over all devices"""
    within: Literal["auto", "map", "batch"] = "auto"
    """on one device: one task after another (map), or all at once (batch); auto maps on CPU"""
    temperature_start: Positive = 1.0
    """of the gates until the warm-up ends; it then falls evenly"""
    temperature_end: Positive = 0.1
    """of the gates at the last step, and in every adaptation to a new task"""
    steps_per_dispatch: Count = 10
    """steps compiled into one call; checkpoints and log lines fall between calls"""
    checkpoint_every: Count = 100
    """steps between checkpoints, rounded up to whole calls"""
    episodes: Count = 600
    """tasks that the start is judged on"""
    judged_on: Literal["test", "validation"] = "test"
    """classes that these tasks are drawn from: choose options by validation, report test"""
    other_data: str | None = None
    """file or folder of other data, read as `data.path` is: all of their classes are tested on, and
    the start learns from all classes of the experiment's own data"""
    percentiles: tuple[Annotated[float, Interval(ge=0, le=100)], ...] = ()
    """budgets that each task is adapted to as well, as percentiles of the predicted cost over the
    space in the target's metric"""


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole experiment; the defaults search cells for the built-in digits."""

    name: SafeName = "digits"
    """names the run folder"""
    seed: Annotated[int, Interval(ge=0, lt=2**32)] = 0
    space: SpaceConfig = SpaceConfig()
    data: DataConfig = DataConfig()
    task: Part = _part("classification")
    """what is learned; a data set made for another task takes that one by default"""
    profile: ProfileConfig = ProfileConfig()
    cost: CostConfig = CostConfig()
    target: TargetConfig = TargetConfig()
    budget: Part = _part("upper_bound")
    """how the target enters the search"""
    search: SearchConfig = SearchConfig()
    derive: DeriveConfig = DeriveConfig()
    retrain: RetrainConfig = RetrainConfig()
    parallel: ParallelConfig = ParallelConfig()
    sweep: SweepConfig = SweepConfig()
    few_shot: FewShotConfig = FewShotConfig()


def alone(config: ParallelConfig) -> ParallelConfig:
    """Returns `config` for one process by itself."""
    return dataclasses.replace(
        config, coordinator=None, processes=None, process=None, distributed=False
    )
