"""The one configuration model that every command shares.

Sections are frozen and refuse unknown keys. The docstring under each field is its documentation:
``docs/config.md`` is generated from it. The defaults are the ``default`` preset; ``paper`` is a set of
overrides in ``presets/paper.yaml``.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ld4mrec_cli.errors import ConfigError, nearest

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Share = Annotated[float, Field(gt=0.0, lt=1.0)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Cutoffs = Annotated[tuple[Count, ...], Field(min_length=1)]

SourceFormat = Literal["auto", "amazon", "mmrec", "recbole", "table"]
SplitMethod = Literal["auto", "random", "temporal", "global-time", "leave-one-out", "given"]
Mask = Literal["train", "train+valid"]
ModelName = Literal["ld4mrec", "popularity", "itemknn", "ease"]
Preset = Literal["default", "paper"]


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"names '{name}' twice")
    return names


Names = Annotated[tuple[str, ...], AfterValidator(_each_once)]
ColumnName = Literal["user", "item", "rating", "timestamp", "label", "title"]
TFIDF = "tfidf"


class Section(BaseModel):
    """A frozen group of settings that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class PrepareConfig(Section):
    """How `prepare` reads, filters and splits raw data."""

    format: SourceFormat = "auto"
    """Layout of the raw directory; `auto` recognises it from the file names and headers."""
    split: SplitMethod = "auto"
    """How interactions are split. `auto` takes given labels where the source has them, else `random`."""
    k_core: Annotated[int, Field(ge=0)] | None = None
    """Keep users and items with at least this many interactions, repeatedly; 0 keeps all. Unset: 0 if given, else 5."""
    valid_ratio: Share = 0.1
    """Share of the interactions that goes to validation (random, temporal and global-time splits)."""
    test_ratio: Share = 0.1
    """Share of the interactions that goes to test (random, temporal and global-time splits)."""
    min_rating: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Interactions rated below this are dropped before anything else; unset keeps all."""
    on_error: Literal["raise", "skip"] = "raise"
    """A malformed line of raw data is an error (`raise`), or is left out and counted (`skip`)."""
    max_errors: Annotated[int, Field(ge=0)] = 100
    """With `on_error: skip`, more malformed lines than this are an error all the same."""
    seed: Seed = 0
    """Seed of the random splits and of the truncated SVD of the text features."""
    text_fields: tuple[str, ...] = ("title", "brand", "categories", "description")
    """Item fields that are joined, in this order, into the text of the `text` modality."""
    text_dim: Count = 128
    """Columns of the text features (truncated SVD of TF-IDF)."""
    text_encoder: str = TFIDF
    """What makes the `text` modality: `tfidf`, or the path of a local sentence-transformers model directory."""
    image_encoder: Path | None = None
    """Local weights (`.safetensors`, `.pth`, `.pt`) that encode the raw folder `images/`; unset leaves it out."""
    image_backbone: str = "resnet50"
    """The timm model that the weights of `image_encoder` belong to."""
    encoder_device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where text and image encoders run; `auto` takes CUDA where there is any."""
    columns: dict[ColumnName, str] = Field(default_factory=dict)
    """Names of the columns in plain tables, where they are not the usual ones, e.g. `{user: customer}`."""

    @field_validator("columns", mode="before")
    @classmethod
    def _columns_are_ours_and_differ(cls, value: Any) -> Any:
        known, seen = get_args(ColumnName), dict[Any, Any]()
        for ours, theirs in value.items() if isinstance(value, Mapping) else ():
            if ours not in known:
                raise ValueError(f"unknown column '{ours}'. {nearest(str(ours), known)}")
            if str(theirs) in seen:
                raise ValueError(f"{seen[str(theirs)]} and {ours} are both '{theirs}'")
            seen[str(theirs)] = ours
        return value

    @model_validator(mode="after")
    def _shares_leave_training_data(self) -> PrepareConfig:
        if self.valid_ratio + self.test_ratio >= 1.0:
            raise ValueError("valid_ratio + test_ratio must stay below 1, so that something is left to train on")
        return self


class DataConfig(Section):
    """Which dataset directory is used, and what of it."""

    path: Path | None = None
    """The dataset directory that `prepare` wrote."""
    modalities: Names | None = None
    """Modalities to use, by name; unset uses every one that the dataset has, `[]` none."""


class ModelConfig(Section):
    """C-Net: encoder, BD-Blocks, BG-Blocks, decoder, and the guidance signals."""

    hidden_dim: Count = 256
    """Width d of the latent state h."""
    bd_blocks: Annotated[int, Field(ge=0)] = 1
    """Number of behaviour-denoising blocks; 0 switches them off."""
    bg_blocks: Annotated[int, Field(ge=0)] = 1
    """Number of behaviour-generation blocks (guided); 0 switches them off."""
    expansion: Positive = 2.0
    """Width of the blocks' hidden layer, as a multiple of `hidden_dim`."""
    time_dim: Annotated[int, Field(ge=2, multiple_of=2)] = 32
    """Width of the time embedding."""
    dropout: Fraction = 0.5
    """Dropout on the latent state during training."""
    guidance: Names | None = None
    """Signals that guide the BG-Blocks: `collaborative` and modality names; unset takes all there are, `[]` none."""
    guidance_source: Literal["corrupted", "clean"] = "corrupted"
    """Row that guidance is computed from in training. `clean` (the paper's) leaks the target; see docs/model.md."""
    collaborative_rank: Count = 256
    """Rank r of the collaborative item basis V (truncated SVD of the normalised interactions)."""
    modality_dim: Count = 256
    """Features with more columns than this are reduced to it by PCA."""
    item_side: bool = True
    """Item-side guidance in the decoder: items are also scored by their content and neighbours."""
    item_weights: bool = True
    """Add the zero-diagonal ridge item weights (EASE^R) applied to the row, with a learned scale, to the scores."""
    item_weights_ridge: Positive = 500.0
    """Ridge λ of the item weights."""
    item_weights_max_items: Count = 10_000
    """Catalogues larger than this go without item weights (the closed form inverts an items × items matrix)."""
    popularity_bias: bool = True
    """Start the output bias at the log popularity of the items (multinomial loss only)."""


class DiffusionConfig(Section):
    """Forward process, behavioural reconstruction, sampling of t and inference."""

    steps: Count = 5
    """Number of forward steps T; without Gaussian noise every row is at t = 0."""
    noise_scale: NonNegative = 0.0
    """Scale s of the Gaussian noise schedule; 0 switches the Gaussian noise off."""
    noise_min: Fraction = 0.001
    """a_min of the linear schedule."""
    noise_max: Fraction = 0.02
    """a_max of the linear schedule."""
    mask_rate: Fraction = 0.6
    """Probability that an observed behaviour is dropped in the forward process; 0 switches masking off."""
    soft_reconstruction: bool = True
    """Soft behavioural reconstruction of the labels."""
    soft_probability: Probability = 0.1
    """Probability p that an entry of the row is smoothed."""
    smoothing_intensity: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0005
    """γ: a smoothed label is x + γ(1 - 2x)."""
    importance_sampling: bool = True
    """Draw t in proportion to the root mean square of its recent losses, else uniformly; acts with Gaussian noise."""
    inference_steps: Count = 1
    """1 is one-step inference; K > 1 runs the reverse chain over K steps, for comparison."""

    @model_validator(mode="after")
    def _schedule_is_a_schedule(self) -> DiffusionConfig:
        if self.noise_min > self.noise_max:
            raise ValueError("noise_min must not exceed noise_max")
        if self.noise_scale * self.noise_max >= 1.0:
            raise ValueError("noise_scale * noise_max must stay below 1, or no signal is left at step T")
        if self.inference_steps > max(1, self.steps):
            raise ValueError("inference_steps must not exceed steps")
        if self.inference_steps > 1 and self.noise_scale == 0.0:
            raise ValueError("inference_steps > 1 needs Gaussian noise: set noise_scale above 0")
        return self


class TrainingConfig(Section):
    """The training loop."""

    seed: Seed = 0
    """Seed of the weights, of the forward process and of the order of the users."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    loss: Literal["multinomial", "mse"] = "multinomial"
    """`multinomial`: softmax cross-entropy over the catalogue. `mse`: the paper's."""
    target: Literal["all", "destroyed"] = "destroyed"
    """Reconstruct `all` behaviours, or only those that masking `destroyed` (visible items are left out of the loss)."""
    batch_size: Count = 256
    """Users per step."""
    learning_rate: Positive = 0.002
    """Step size of AdamW."""
    weight_decay: NonNegative = 0.0
    """Decoupled weight decay of the blocks."""
    embedding_weight_decay: NonNegative = 0.0
    """Decoupled weight decay of the encoder's and decoder's item embeddings W_e and W_d."""
    grad_clip: NonNegative = 0.0
    """Gradient norm at which gradients are clipped; 0 never clips."""
    ema_decay: Fraction = 0.99
    """Decay of the moving average of the weights, per step; 0 switches averaging off."""
    max_epochs: Count = 200
    """Upper bound on the epochs."""
    patience: Count = 20
    """Stop after this many validations without a better `metric`."""
    validate_every: Count = 1
    """Epochs between validations; each also writes a checkpoint."""
    metric: Annotated[str, Field(pattern=r"^(recall|ndcg|precision|hit|mrr|map)@[1-9][0-9]*$")] = "ndcg@20"
    """Validation metric that selects the epoch, e.g. `recall@20`."""
    precision: Literal["float32", "bf16"] = "float32"
    """`bf16` runs the matrix products in bfloat16 (autocast)."""


class EvaluationConfig(Section):
    """Ranking protocol of validation, `evaluate` and `recommend`."""

    k: Cutoffs = (5, 10, 20, 50)
    """Cutoffs of the metrics that `evaluate` reports."""
    mask: Mask = "train"
    """Items left out of a user's ranking at test time: `train`, or `train+valid`."""
    batch_size: Count = 1024
    """Users scored at a time."""


class BaselineConfig(Section):
    """Settings of the baselines that `train --model NAME` trains."""

    ease_ridge: Positive = 500.0
    """Ridge λ of `ease`."""
    itemknn_neighbours: Count = 100
    """Neighbours kept per item by `itemknn`."""
    itemknn_shrinkage: NonNegative = 0.0
    """Shrinkage added to the denominator of `itemknn`'s cosine."""


class Config(Section):
    """All settings of ld4mrec."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] | None = None
    """Name of the run; unset takes the dataset's name."""
    preset: Preset = "default"
    """Where unset values come from: `default` (what measures best) or `paper` (as published)."""
    model_name: ModelName = "ld4mrec"
    """What is trained: `ld4mrec` or a baseline."""
    prepare: PrepareConfig = Field(default_factory=PrepareConfig)
    data: DataConfig = Field(default_factory=DataConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    diffusion: DiffusionConfig = Field(default_factory=DiffusionConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    baseline: BaselineConfig = Field(default_factory=BaselineConfig)

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Config:
        if self.training.target == "destroyed" and self.diffusion.mask_rate == 0.0:
            raise ValueError(
                "training.target=destroyed needs masking: set diffusion.mask_rate above 0, or training.target=all"
            )
        return self


def load_config(
    path: Path | None = None,
    overrides: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
    base: Config | None = None,
) -> Config:
    """Read a YAML file, apply ``section.key=value`` overrides, then flags, and validate.

    Args:
        flags: value by ``section.key``; a value of None counts as not given.
        base: where values come from without a file; the defaults where None.

    Raises:
        ConfigError: the file is missing or no YAML mapping, a key is unknown or a value does not fit.
    """
    values = read_yaml(path) if path else base.model_dump(mode="json") if base else {}
    for override in overrides:
        _set(values, *_parse_override(override))
    for key, value in (flags or {}).items():
        if value is not None:
            _set(values, key, value)
    return config_from_mapping(values, where=path)


def config_from_mapping(values: Mapping[str, Any], where: Path | None = None) -> Config:
    """Validate ``values`` over the preset that they name. Raises ConfigError as :func:`load_config`."""
    preset = values.get("preset") or "default"
    if preset not in get_args(Preset):
        raise ConfigError(f"unknown preset '{preset}'", where=where, hint=nearest(str(preset), get_args(Preset)))
    try:
        return Config.model_validate(_merge(_preset_values(preset), values))
    except ValidationError as error:
        raise ConfigError(_first_fault(error), where=where) from None


def config_to_yaml(config: Config) -> str:
    """Return the complete configuration as YAML that :func:`load_config` reads back to an equal config."""
    values = config.model_dump(mode="json")
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    if yaml.safe_load(text) == values:
        return text
    return yaml.safe_dump(values, sort_keys=False)  # some rare line breaks come back only when escaped


def read_yaml(path: Path, what: str = "configuration", of: str = "sections") -> dict[str, Any]:
    """Read a YAML mapping. Raises ConfigError, which calls the file a ``what``, a mapping ``of`` something."""
    try:
        values = _StrictLoader(path.read_text(encoding="utf-8")).get_single_data()
    except FileNotFoundError:
        raise ConfigError(f"no such {what} file", where=path) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read ({error})", where=path) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "malformed"
        raise ConfigError(f"not valid YAML: {problem}", where=path, line=mark.line + 1 if mark else None) from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"a {what} is a mapping of {of}", where=path)
    return values


class _StrictLoader(yaml.SafeLoader):
    """A safe loader that refuses a key given twice, of which plain YAML silently keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"'{key}' is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _parse_override(override: str) -> tuple[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not all(key.strip().split(".")):
        raise ConfigError(f"--set '{override}' is not of the form section.key=value")
    try:
        return key.strip(), yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set '{override}': the value is not valid YAML") from None


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    *sections, name = key.split(".")
    target = values
    for section in sections:
        child = target.get(section)
        if child is None:
            child = target[section] = {}
        if not isinstance(child, dict):
            raise ConfigError(f"'{section}' is not a section, so '{key}' cannot be set")
        target = child
    target[name] = value


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge section by section; an empty section (``model:`` with nothing under it) counts as absent."""
    merged = dict(base)
    for key, value in over.items():
        section = key in _section_names()
        if section and value is None:
            continue
        if section and isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = {**merged[key], **value}
        else:
            merged[key] = value
    return merged


def preset_text(preset: str) -> str:
    """The YAML of a preset's overrides, with its comments."""
    return (importlib.resources.files("ld4mrec_cli") / "presets" / f"{preset}.yaml").read_text(encoding="utf-8")


def _preset_values(preset: str) -> dict[str, Any]:
    return {} if preset == "default" else yaml.safe_load(preset_text(preset))


def sections() -> Iterator[tuple[str, type[Section]]]:
    """Name and class of every section of the configuration."""
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield name, field.annotation


def _section_names() -> set[str]:
    return {name for name, _ in sections()}


def _first_fault(error: ValidationError) -> str:
    faults = error.errors(include_url=False)
    fault = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])
    place = ".".join(str(part) for part in fault["loc"]) or "configuration"
    if fault["type"] == "extra_forbidden":
        section = dict(sections()).get(str(fault["loc"][0])) if len(fault["loc"]) > 1 else Config
        return f"unknown key '{place}'. {nearest(str(fault['loc'][-1]), section.model_fields if section else ())}"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return f"{place}: {message}"
    return f"{place}: {message} (got {fault['input']!r})"
