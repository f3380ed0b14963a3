"""Generated events: buys follow a user's taste, views do not."""

from __future__ import annotations

import numpy as np

WEIGHTS = {"view": 1.0, "buy": 10.0}
N_GROUPS = 4


def planted_events(
    n_users: int = 160, per_group: int = 15, views: int = 14, buys: int = 6, seed: int = 0
) -> str:
    """A table of events with given splits; the held-out ones are buys.

    Users and items are in four groups. A user buys items of the own group and views any items.
    """
    rng = np.random.default_rng(seed)
    lines = ["user,item,type,split"]
    for user in range(n_users):
        own = rng.choice(per_group, size=buys, replace=False) + user % N_GROUPS * per_group
        seen = rng.choice(N_GROUPS * per_group, size=views, replace=False)
        splits = ["train"] * (buys - 2) + ["valid", "test"]
        lines += [f"u{user},i{i},buy,{split}" for i, split in zip(own, splits, strict=True)]
        lines += [f"u{user},i{i},view,train" for i in seen if i not in own]
    return "\n".join(lines) + "\n"
