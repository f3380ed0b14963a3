"""The table of all models, for names, help, configuration, docs and tests. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ld4mrec_cli.models.bm3_settings import BM3Config
from ld4mrec_cli.models.bpr_settings import BPRConfig
from ld4mrec_cli.models.cfgan_settings import CFGANConfig
from ld4mrec_cli.models.diffrec_settings import DiffRecConfig
from ld4mrec_cli.models.ease_settings import EASEConfig
from ld4mrec_cli.models.freedom_settings import FREEDOMConfig
from ld4mrec_cli.models.gume_settings import GUMEConfig
from ld4mrec_cli.models.ials_settings import IALSConfig
from ld4mrec_cli.models.itemknn_settings import ItemKNNConfig
from ld4mrec_cli.models.ld4mrec.settings import DiffusionConfig, ModelConfig
from ld4mrec_cli.models.lightgcn_settings import LightGCNConfig
from ld4mrec_cli.models.mgcn_settings import MGCNConfig
from ld4mrec_cli.models.multvae_settings import MultVAEConfig
from ld4mrec_cli.models.vbpr_settings import VBPRConfig
from ld4mrec_cli.settings.base import Section
from ld4mrec_cli.utils.errors import UserError


@dataclass(frozen=True)
class ModelSpec:
    """A model: its name, settings, class and capabilities."""

    name: str
    """Value of `model_name`; also the name of its configuration section, if it has one."""
    import_path: str
    """``module:Class`` below ``ld4mrec_cli.models``."""
    title: str
    """Name and source, for help and docs."""
    sections: Mapping[str, type[Section]] = field(default_factory=dict)
    """Its configuration sections, by name."""
    closed_form: bool = False
    """Computed at once, without epochs; otherwise trained by gradient descent."""
    deterministic: bool = False
    """All seeds give the same result."""
    reads_features: bool = False
    """Reads item features (modalities)."""
    reads_weights: bool = False
    """Honors weights of the interactions; otherwise each counts as one."""
    needs_features: bool = False
    """Requires item features."""
    scores_new_users: bool = True
    """Scores histories of new users."""
    relates_items: bool = True
    """Relates items to each other."""
    reads_histories: bool = True
    """Its scores come from a history, and differ from one to another."""
    scores_new_items: bool = False
    """Scores items without training interactions, by their features."""

    takes_new_items: bool = False
    """Can be extended by new items of known content, without retraining."""
    learns_content: bool = False
    """Then learns of the content of its items beside it, see ``Recommender.learn_content``."""

    @property
    def fades_histories(self) -> bool:
        """Whether old items of a history may count less: it reads histories, and their weights."""
        return self.reads_weights and self.reads_histories

    @property
    def has_reasons(self) -> bool:
        """Whether its scores can be split among the items of a history."""
        return self.scores_new_users and self.reads_histories


_SPECS = (
    ModelSpec(
        "ld4mrec",
        "ld4mrec.model:LD4MRec",
        "LD4MRec (arXiv 2309.15363)",
        {"model": ModelConfig, "diffusion": DiffusionConfig},
        reads_features=True,
        scores_new_items=True,
        reads_weights=True,
        takes_new_items=True,
        learns_content=True,
    ),
    ModelSpec(
        "popularity",
        "popularity:Popularity",
        "Popularity",
        relates_items=False,
        reads_histories=False,
        closed_form=True,
        deterministic=True,
        reads_weights=True,
    ),
    ModelSpec(
        "itemknn",
        "itemknn:ItemKNN",
        "ItemKNN (Sarwar et al., WWW 2001)",
        {"itemknn": ItemKNNConfig},
        closed_form=True,
        deterministic=True,
        reads_weights=True,
        takes_new_items=True,
    ),
    ModelSpec(
        "ease",
        "ease:EASE",
        "EASE^R (Steck, WWW 2019)",
        {"ease": EASEConfig},
        closed_form=True,
        deterministic=True,
        reads_features=True,
        reads_weights=True,
        takes_new_items=True,
    ),
    ModelSpec(
        "ials",
        "ials:IALS",
        "iALS (Hu et al., ICDM 2008; Rendle et al., RecSys 2022)",
        {"ials": IALSConfig},
        closed_form=True,
        reads_weights=True,
        takes_new_items=True,
    ),
    ModelSpec(
        "bpr",
        "bpr:BPR",
        "MF-BPR (Rendle et al., UAI 2009)",
        {"bpr": BPRConfig},
        scores_new_users=False,
    ),
    ModelSpec(
        "lightgcn",
        "lightgcn:LightGCN",
        "LightGCN (He et al., SIGIR 2020)",
        {"lightgcn": LightGCNConfig},
        scores_new_users=False,
    ),
    ModelSpec(
        "vbpr",
        "vbpr:VBPR",
        "VBPR (He & McAuley, AAAI 2016)",
        {"vbpr": VBPRConfig},
        reads_features=True,
        needs_features=True,
        scores_new_users=False,
        scores_new_items=True,
        takes_new_items=True,
    ),
    ModelSpec(
        "freedom",
        "freedom:FREEDOM",
        "FREEDOM (Zhou & Shen, MM 2023)",
        {"freedom": FREEDOMConfig},
        reads_features=True,
        needs_features=True,
        scores_new_users=False,
        scores_new_items=True,
    ),
    ModelSpec(
        "bm3",
        "bm3:BM3",
        "BM3 (Zhou et al., WWW 2023)",
        {"bm3": BM3Config},
        reads_features=True,
        needs_features=True,
        scores_new_users=False,
    ),
    ModelSpec(
        "mgcn",
        "mgcn:MGCN",
        "MGCN (Yu et al., MM 2023)",
        {"mgcn": MGCNConfig},
        reads_features=True,
        needs_features=True,
        scores_new_users=False,
        scores_new_items=True,
    ),
    ModelSpec(
        "gume",
        "gume:GUME",
        "GUME (Lin et al., CIKM 2024)",
        {"gume": GUMEConfig},
        reads_features=True,
        needs_features=True,
        scores_new_users=False,
        scores_new_items=True,
    ),
    ModelSpec(
        "multvae",
        "multvae:MultVAE",
        "MultVAE (Liang et al., WWW 2018)",
        {"multvae": MultVAEConfig},
        reads_weights=True,
    ),
    ModelSpec(
        "diffrec",
        "diffrec:DiffRec",
        "DiffRec (Wang et al., SIGIR 2023)",
        {"diffrec": DiffRecConfig},
        reads_weights=True,
    ),
    ModelSpec(
        "cfgan",
        "cfgan:CFGAN",
        "CFGAN (Chae et al., CIKM 2018)",
        {"cfgan": CFGANConfig},
        relates_items=False,
    ),
)

MODELS: dict[str, ModelSpec] = {spec.name: spec for spec in _SPECS}
"""Every model by name."""


def suggest_models(is_able: Callable[[ModelSpec], bool]) -> str:
    """Hint of an error of a model that cannot do what is asked for: the models that can."""
    names = ", ".join(spec.name for spec in _SPECS if is_able(spec))
    return f"Use a model that does: {names}"


def no_added_items(name: str) -> UserError:
    """Error of the model ``name``, which cannot be extended by new items."""
    hint = suggest_models(lambda spec: spec.takes_new_items)
    return UserError(f"{name} takes no new items by their content", hint=hint)


def no_shares(why: str) -> UserError:
    """Error of a model whose scores do not come from a history, so that no item has a share."""
    hint = suggest_models(lambda spec: spec.has_reasons)
    return UserError(f"this model {why}, so it has no reasons", hint=hint)


def no_similarity(name: str) -> UserError:
    """Error of the model ``name``, by which no item is like another."""
    hint = suggest_models(lambda spec: spec.relates_items)
    return UserError(f"{name} relates no item to another", hint=hint)


NO_NEW_USERS = "scores its training users only, not new histories"
"""What is said of a model that has vectors of its training users only."""


def no_new_users(name: str) -> UserError:
    """Error of the model ``name`` for a new history, see :data:`NO_NEW_USERS`."""
    hint = suggest_models(lambda spec: spec.scores_new_users)
    return UserError(f"{name} {NO_NEW_USERS}", hint=hint)


def model_sections() -> dict[str, type[Section]]:
    """Configuration sections of all models, by name."""
    return {name: section for spec in _SPECS for name, section in spec.sections.items()}
