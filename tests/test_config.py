from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ld4mrec_cli.config import (
    Config,
    config_from_mapping,
    config_to_yaml,
    iter_differences,
    iter_searchable,
    load_config,
    owner,
    resumable_keys,
)
from ld4mrec_cli.config.reference import config_reference
from ld4mrec_cli.evaluation.metrics import ACCURACY
from ld4mrec_cli.models.ld4mrec.settings import DiffusionConfig, ModelConfig
from ld4mrec_cli.models.specs import MODELS
from ld4mrec_cli.settings.base import MAY_CHANGE_ON_RESUME, NOT_SEARCHED, ReadBy, Section
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.settings.training import TrainingConfig
from ld4mrec_cli.utils.errors import ConfigError

SECTIONS = {
    name: field.annotation
    for name, field in Config.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


configs = st.builds(
    Config,
    name=st.none() | st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True),
    prepare=st.builds(
        PrepareConfig,
        min_rating=st.none() | st.floats(-5, 5),
        k_core=st.none() | st.integers(0, 9),
        valid_ratio=st.floats(0.01, 0.4),
        test_ratio=st.floats(0.01, 0.4),
        text_fields=st.lists(st.text(st.characters(codec="utf-8"), max_size=8)).map(tuple),
        columns=st.dictionaries(
            st.sampled_from(["user", "item"]), st.text(st.characters(codec="utf-8"), max_size=8)
        ).filter(lambda columns: len(set(columns.values())) == len(columns)),
    ),
    model=st.builds(
        ModelConfig,
        guidance=st.none()
        | st.lists(st.sampled_from(["yes", "null", "1", "café"]), unique=True).map(tuple),
    ),
    diffusion=st.builds(
        DiffusionConfig,
        mask_rate=st.floats(0.1, 0.9),
        noise_min=st.just(0.0),
        noise_max=st.floats(0, 0.9),
    ),
    training=st.builds(
        TrainingConfig, learning_rate=st.floats(1e-12, 1e3), seed=st.integers(0, 2**32 - 1)
    ),
)


@given(config=configs)
def test_a_config_written_as_yaml_is_read_back_equal(config, tmp_path_factory):
    path = written(tmp_path_factory.mktemp("config"), config_to_yaml(config))
    assert load_config(path) == config


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_a_written_preset_is_complete_and_read_back_equal(preset, tmp_path):
    config = config_from_mapping({"preset": preset})
    text = config_to_yaml(config)
    assert load_config(written(tmp_path, text)) == config
    values = yaml.safe_load(text)
    assert {name: set(values[name]) for name in SECTIONS} == {
        name: set(section.model_fields) for name, section in SECTIONS.items()
    }


def test_the_paper_preset_is_the_published_model():
    config = config_from_mapping({"preset": "paper"})
    assert (config.training.loss, config.training.target, config.training.ema_decay) == (
        "mse",
        "all",
        0.0,
    )
    assert (config.model.guidance_source, config.model.item_side, config.model.ease) == (
        "clean",
        False,
        False,
    )
    assert (config.diffusion.mask_rate, config.diffusion.soft_reconstruction) == (0.0, True)
    assert config.diffusion.noise_scale > 0


def test_own_values_go_over_the_preset_and_overrides_over_the_file(tmp_path):
    path = written(tmp_path, "preset: paper\nmodel:\n  item_side: true\ntraining:\n  seed: 1\n")
    config = load_config(path, ["training.seed=2", "model.hidden_dim=8"])
    assert (config.model.item_side, config.model.ease) == (True, False)
    assert (config.training.seed, config.model.hidden_dim, config.training.loss) == (2, 8, "mse")


@pytest.mark.parametrize("text", ["", "# nothing\n", "model:\n", "model: {}\ntraining:\n"])
def test_an_empty_file_or_section_is_the_default(tmp_path, text):
    assert load_config(written(tmp_path, text)) == Config() == load_config()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.learning_rate=1e-3", 0.001),
        ("training.learning_rate=.5", 0.5),
        ("model.guidance=[]", ()),
        ("model.guidance=[collaborative, image]", ("collaborative", "image")),
        ("model.guidance=null", None),
        ("model.item_side=false", False),
        ("evaluation.k=[1, 3]", (1, 3)),
        ("name=x", "x"),
        ("data.path=some/where", Path("some/where")),
    ],
)
def test_overrides_are_read_as_yaml(override, expected):
    value = load_config(None, [override])
    for part in override.split("=")[0].split("."):
        value = getattr(value, part)
    assert value == expected


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "training.learning_rat=1",
            r"unknown key 'training.learning_rat'. Did you mean 'learning_rate'\?",
        ),
        ("trainin.seed=1", r"unknown key 'trainin'. Did you mean 'training'\?"),
        ("model.hidden=1", r"unknown key 'model.hidden'. Did you mean 'hidden_dim'\?"),
        ("model.zzz=1", r"unknown key 'model.zzz'. Known: hidden_dim"),
        ("preset=papr", r"unknown preset 'papr'. Did you mean 'paper'\?"),
        ("training.seed", "not of the form section.key=value"),
        ("=1", "not of the form section.key=value"),
        ("training..seed=1", "not of the form section.key=value"),
        ("training.seed=[", "not valid YAML"),
        ("training.seed.low=1", "training.seed"),
        ("name.first=1", "name"),
        ("model=5", "model"),
        ("training.seed=many", r"training.seed: .*integer.*\(got 'many'\)"),
        ("training.seed=-1", r"training.seed: .*\(got -1\)"),
        ("training.seed=4294967296", "training.seed"),
        ("training.batch_size=0", "training.batch_size"),
        ("training.learning_rate=0", "training.learning_rate"),
        ("training.learning_rate=.nan", "training.learning_rate"),
        ("training.learning_rate=.inf", "training.learning_rate"),
        ("training.weight_decay=-0.1", "training.weight_decay"),
        ("training.ema_decay=1.0", "training.ema_decay"),
        ("training.ema_decay=.nan", "training.ema_decay"),
        ("diffusion.mask_rate=1", "diffusion.mask_rate"),
        ("diffusion.mask_rate=.nan", "diffusion.mask_rate"),
        ("diffusion.soft_probability=.nan", "diffusion.soft_probability"),
        ("diffusion.smoothing_intensity=0.6", "diffusion.smoothing_intensity"),
        ("diffusion.smoothing_intensity=.nan", "diffusion.smoothing_intensity"),
        ("training.metric=recall", "training.metric"),
        ("training.metric=recall@0", "training.metric"),
        ("training.metric=recall@9999999999", "training.metric"),
        ("training.seed=!!int ''", "--set 'training.seed': the value is not valid YAML"),
        ("training.seed=!!bool x", "not valid YAML"),
        ("training.seed=!!timestamp x", "not valid YAML"),
        ("training.seed=0001-01-01T00:00:00+23:59", "training.seed"),
        ("training.seed=0x" + "f" * 5000, r"training.seed: .*\(got a very large int\)"),
        ("training.seed=" + "9" * 5000, "not valid YAML"),
        ("model.guidance=" + "[" * 20_000, "not valid YAML"),
        ("model.guidance=[&a [x], [*a, *a]]", "model.guidance"),
        ("model.guidance=&a [*a]", "not valid YAML"),
        ("model.bd_blocks=100000000", r"model.bd_blocks: .*less than or equal to 1000"),
        ("model.hidden_dim=1000000000", "model.hidden_dim: .*less than or equal to 65536"),
        ("model.expansion=1.0e9", "model.expansion"),
        ("diffusion.steps=10000000000", "diffusion.steps"),
        ("diffrec.hidden_dims=[1000000000]", "diffrec.hidden_dims"),
        ("diffrec.steps=1000000000000", "diffrec.steps"),
        ("bpr.factors=1000000000", "bpr.factors"),
        ("lightgcn.layers=1000000", "lightgcn.layers"),
        ("prepare.text_dim=1000000000", "prepare.text_dim"),
        ("training.batch_size=1000000000000", "training.batch_size"),
        ("training.max_epochs=1000000000000", "training.max_epochs"),
        ("evaluation.k=[1000000000000]", "evaluation.k"),
        ("training.metric=accuracy@20", "training.metric"),
        ("training.loss=hinge", "training.loss"),
        ("model.item_side=maybe", "model.item_side"),
        ("model.guidance=image", "model.guidance"),
        ("model.time_dim=7", "model.time_dim"),
        ("model.dropout=1.0", "model.dropout"),
        ("evaluation.k=[]", "evaluation.k"),
        ("evaluation.k=[0]", "evaluation.k"),
        ("evaluation.mask=all", "evaluation.mask"),
        ("model_name=svd", "model_name"),
        ("name=../escape", "name"),
        ("prepare.columns={usr: x}", "prepare.columns"),
    ],
)
def test_a_bad_override_is_refused_with_its_key(override, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(None, [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("-1", "ease.content_weight: Input should be greater than or equal to 0 (got -1)"),
        (
            "{text: -1}",
            "ease.content_weight.text: Input should be greater than or equal to 0 (got -1)",
        ),
        ("inf", "ease.content_weight: Input should be a finite number (got 'inf')"),
        ("[1]", "ease.content_weight: Input should be a valid number (got [1])"),
    ],
)
def test_a_setting_of_several_types_names_the_key_alone(value, message):
    with pytest.raises(ConfigError) as caught:
        load_config(None, [f"ease.content_weight={value}"])
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["prepare.valid_ratio=0.5", "prepare.test_ratio=0.5"], "prepare: valid_ratio"),
        (["prepare.valid_ratio=0"], "prepare.valid_ratio: Input should be greater than 0"),
        (["prepare.test_ratio=0"], "prepare.test_ratio: Input should be greater than 0"),
        (
            ["diffusion.noise_min=0.3", "diffusion.noise_max=0.2"],
            "diffusion: noise_min must not exceed noise_max",
        ),
        (["diffusion.noise_scale=100"], "no signal is left"),
        (
            ["diffusion.noise_scale=1", "diffusion.inference_steps=6"],
            "inference_steps must not exceed steps",
        ),
        (["diffusion.inference_steps=2"], "needs Gaussian noise"),
        (["diffusion.inference_start=2"], r"inference_start > 0 needs Gaussian noise"),
        (
            [
                "diffusion.noise_scale=1",
                "diffusion.inference_steps=3",
                "diffusion.inference_start=2",
            ],
            "inference_start must be 0, or lie between",
        ),
        (["diffusion.mask_rate=0", "training.target=masked"], "target=masked needs masking"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_config(None, overrides)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: [", r"config\.yaml:\d+: not valid YAML"),
        ("- a\n- b\n", "a configuration is a mapping"),
        ("just text", "a configuration is a mapping"),
        (
            "model:\n  hiden_dim: 3\n",
            r"config\.yaml: unknown key 'model.hiden_dim'. Did you mean 'hidden_dim'",
        ),
        ("1: 2\n", "config"),
        ("preset: [paper]\n", "preset"),
        ("preset:\n", "preset"),
        ("model: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
    ],
)
def test_a_bad_file_is_refused_with_its_name(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load_config(written(tmp_path, text))


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such configuration file"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "binary.yaml")


def test_a_config_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Config().training.seed = 1


@pytest.mark.parametrize(("section", "model"), [*SECTIONS.items(), ("", Config)])
def test_every_setting_is_described(section, model):
    missing = [
        name
        for name, field in model.model_fields.items()
        if not field.description and (section or name not in SECTIONS)
    ]
    assert missing == []


def test_the_reference_names_every_setting_in_plain_words():
    reference = config_reference()
    for section in (Config, *SECTIONS.values()):
        for name in section.model_fields:
            assert name in SECTIONS or f"| `{name}` |" in reference, name
    for jargon in ("Annotated", "FieldInfo", "Optional", "typing", "NoneType"):
        assert jargon not in reference
    assert all(
        line.replace("\\|", "").count("|") == 5
        for line in reference.splitlines()
        if line.startswith("|")
    )


def test_the_reference_in_the_documentation_is_up_to_date(request):
    documented = (request.config.rootpath / "docs" / "config.md").read_text(encoding="utf-8")
    assert documented == config_reference(), (
        "write it again with `ld4mrec config --reference > docs/config.md`"
    )


def test_a_key_given_twice_is_refused(tmp_path):
    path = written(
        tmp_path, "training:\n  seed: 1\nmodel:\n  dropout: 0.1\ntraining:\n  patience: 2\n"
    )
    with pytest.raises(ConfigError, match=r":5: not valid YAML: 'training' is given twice"):
        load_config(path)


def test_flags_reach_into_an_empty_section(tmp_path):
    assert (
        load_config(
            written(tmp_path, "training:\n"), ["training.patience=3"], {"training.seed": 7}
        ).training.seed
        == 7
    )


@pytest.mark.parametrize("key", ["data.modalities", "model.guidance"])
def test_a_signal_named_twice_is_refused(key):
    with pytest.raises(ConfigError, match=rf"{key}: names 'text' twice"):
        load_config(None, [f"{key}=[text, text]"])


def test_differences_name_settings_by_key_and_leave_out_what_may_differ():
    before = Config().model_dump(mode="json")
    after = load_config(
        None, ["training.seed=3", "model.dropout=0.1", "name=x", "evaluation.mask=train+valid"]
    )
    after = after.model_dump(mode="json")
    found = {
        difference.key: (difference.before, difference.after)
        for difference in iter_differences(before, after)
    }
    assert found == {
        "training.seed": (0, 3),
        "model.dropout": (0.5, 0.1),
        "name": (None, "x"),
        "evaluation.mask": ("train", "train+valid"),
    }
    assert [
        d.key for d in iter_differences(before, after, ("evaluation", "model.dropout", "name"))
    ] == ["training.seed"]
    del before["training"]["seed"]
    assert ("training.seed", None, 3) in list(iter_differences(before, after))
    assert list(iter_differences(after, after)) == []


def test_sections_of_models_that_are_not_trained_do_not_differ():
    """A search or comparison of baselines goes on after a setting of LD4MRec changed."""
    before = load_config(None, ["model_name=bpr"]).model_dump(mode="json")
    after = load_config(None, ["model_name=bpr", "model.dropout=0.1", "ease.ridge=3"]).model_dump(
        mode="json"
    )
    assert list(iter_differences(before, after)) == []
    del before["diffusion"]["steps"], before["training"]["row_weight_exponent"]
    after["training"]["sampled_items"] = 512
    assert list(iter_differences(before, after)) == []
    after["training"]["learning_rate"] = 1.0
    assert [difference.key for difference in iter_differences(before, after)] == [
        "training.learning_rate"
    ]
    after["training"]["learning_rate"] = before["training"]["learning_rate"]
    after["bpr"]["factors"] += 1
    assert [difference.key for difference in iter_differences(before, after)] == ["bpr.factors"]
    after["model_name"] = "ld4mrec"
    assert {"model_name", "model.dropout"} <= {
        difference.key for difference in iter_differences(before, after)
    }


def bomb(depth: int) -> str:
    """YAML of a few lines whose value has ten to the power of ``depth`` entries."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, depth):
        aliases = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} [{aliases}]")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (bomb(9), r"config\.yaml:2: not valid YAML: an alias inside an anchored value"),
        ("a: &a x\nb: [" + "*a, " * 101 + "*a]\n", "more than 100 aliases"),
        ("model: " + "[" * 20_000, "nested too deeply"),
        ("model: " + "{a: " * 20_000, "nested too deeply"),
        ("# " + "x" * 1_000_001, "larger than 1,000,000 bytes"),
        ("a: \x1b[31m\n", "not valid YAML"),
        ('model: {dropout: !!float ""}\n', "not valid YAML: malformed value"),
    ],
)
def test_hostile_yaml_is_refused_at_once(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_plain_aliases_and_merge_keys_are_read(tmp_path):
    text = "bpr: &small {factors: 8}\nlightgcn:\n  <<: *small\n  layers: 2\n"
    config = load_config(written(tmp_path, text))
    assert (config.bpr.factors, config.lightgcn.factors, config.lightgcn.layers) == (8, 8, 2)


def test_a_long_bad_value_is_abbreviated():
    with pytest.raises(ConfigError) as caught:
        load_config(None, ["training.seed=" + "x" * 5000])
    assert len(str(caught.value)) < 300


def marked(mark: object) -> set[str]:
    """Settings that carry a mark, or a mark of a class."""
    return {
        f"{section}.{name}"
        for section, model in SECTIONS.items()
        for name, field in model.model_fields.items()
        if mark in field.metadata
        or (isinstance(mark, type) and any(isinstance(each, mark) for each in field.metadata))
    }


def test_settings_marked_for_resume_may_change_and_no_others():
    sections = {name for name, section in SECTIONS.items() if section.may_change_on_resume}
    assert sections == {"prepare", "evaluation"}
    fields = marked(MAY_CHANGE_ON_RESUME)
    assert {"training.max_epochs", "training.patience", "training.device", "data.path"} <= fields
    assert resumable_keys() == sections | fields
    assert "training.learning_rate" not in resumable_keys()


def test_settings_marked_as_not_searched_are_not_searched_and_all_others_are():
    hidden = marked(NOT_SEARCHED)
    assert {"training.seed", "training.metric", "training.max_epochs"} <= hidden
    searchable = {key for key, _ in iter_searchable()}
    every = {
        f"{section}.{name}"
        for section, model in SECTIONS.items()
        if model.searched
        for name in model.model_fields
    }
    assert searchable == every - hidden
    assert not {key for key in searchable if key.startswith(("prepare.", "evaluation."))}


def test_settings_marked_with_a_model_are_its_own():
    fields = marked(ReadBy)
    assert "training.loss" in fields
    for key in fields:
        section, name = key.split(".")
        metadata = SECTIONS[section].model_fields[name].metadata
        (mark,) = (each for each in metadata if isinstance(each, ReadBy))
        assert owner(key) == mark.model
        assert mark.model in MODELS
    for model, spec in MODELS.items():
        for section in spec.sections:
            owners = {owner(f"{section}.{name}") for name in SECTIONS[section].model_fields}
            assert owners == {model}
    assert owner("training.learning_rate") is None


@pytest.mark.parametrize("name", ACCURACY)
def test_every_accuracy_metric_selects_the_epoch(name):
    assert load_config(None, [f"training.metric={name}@7"]).training.metric == f"{name}@7"


def test_no_other_metric_selects_the_epoch(monkeypatch):
    with pytest.raises(ConfigError, match="unknown metric 'coverage'"):
        load_config(None, ["training.metric=coverage@20"])
    monkeypatch.setattr("ld4mrec_cli.evaluation.metrics.ACCURACY", (*ACCURACY, "newmetric"))
    assert load_config(None, ["training.metric=newmetric@5"]).training.metric == "newmetric@5"
