"""The table of noise types. Help texts, error hints, docs and tests derive from it.

A new noise type is one more function here, with :func:`register_noise_type` above it. The command
line imports this file, so numpy is imported only where it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from ld4mrec_cli.data.noise.sampler import NoiseSampler


def _no_indices() -> np.ndarray:
    import numpy as np

    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Noise:
    """Changes to the training interactions."""

    removed: np.ndarray = field(default_factory=_no_indices)
    """Indices of the training interactions to remove, ``(n_removed,)``, ascending."""
    added_users: np.ndarray = field(default_factory=_no_indices)
    """Users of the interactions to add, ``(n_added,)``."""
    added_items: np.ndarray = field(default_factory=_no_indices)
    """Items of the interactions to add, ``(n_added,)``."""


Sample = Callable[["NoiseSampler", int], Noise]
"""Samples the noise for a number of training interactions."""


@dataclass(frozen=True)
class NoiseType:
    """A noise type by name."""

    name: str
    """Value of `--type`."""
    description: str
    """Effect on the training interactions, for help and docs."""
    sample: Sample
    needs_features: bool = False
    """Requires item features."""


NOISE_TYPES: dict[str, NoiseType] = {}
"""Noise type by name."""


def register_noise_type(
    name: str, description: str, *, needs_features: bool = False
) -> Callable[[Sample], Sample]:
    """Add the decorated function to :data:`NOISE_TYPES`."""

    def register(sample: Sample) -> Sample:
        NOISE_TYPES[name] = NoiseType(name, description, sample, needs_features)
        return sample

    return register


@register_noise_type("random", "adds interactions with uniformly sampled items")
def add_random_items(sampler: NoiseSampler, n_interactions: int) -> Noise:
    """Add items that the user does not have; users in proportion to their interactions."""
    users = sampler.sample_users(n_interactions)
    return Noise(added_users=users, added_items=sampler.sample_new_items(users))


@register_noise_type("popular", "adds interactions with items sampled by popularity")
def add_popular_items(sampler: NoiseSampler, n_interactions: int) -> Noise:
    """Add items that the user does not have, in proportion to their training interactions.

    Items without a training interaction come only after all others.
    """
    users = sampler.sample_users(n_interactions)
    items = sampler.sample_new_items(users, weights=sampler.item_counts)
    return Noise(added_users=users, added_items=items)


@register_noise_type("drop", "removes interactions")
def drop_interactions(sampler: NoiseSampler, n_interactions: int) -> Noise:
    """Remove interactions; each user keeps at least one."""
    return Noise(removed=sampler.sample_removable(n_interactions))


@register_noise_type("flip", "replaces interactions by ones with uniformly sampled items")
def flip_interactions(sampler: NoiseSampler, n_interactions: int) -> Noise:
    """Replace interactions by items that the user does not have; each user keeps at least one."""
    removed = sampler.sample_removable(n_interactions)
    users = sampler.users[removed]
    return Noise(removed, users, sampler.sample_new_items(users))


@register_noise_type(
    "similar", "adds interactions with items like one of the user's by content", needs_features=True
)
def add_similar_items(sampler: NoiseSampler, n_interactions: int) -> Noise:
    """Add items near one that the user has: misclicks on similar content."""
    users, items = sampler.sample_similar_items(n_interactions)
    return Noise(added_users=users, added_items=items)
