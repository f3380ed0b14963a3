"""Bodies of requests and answers. Every field stands in the OpenAPI description."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Id = Annotated[str, Field(max_length=1000)]
"""A raw id of a user or an item."""


DEFAULT_K = 20
K_DESCRIPTION = f"Items of a list; {DEFAULT_K} by default, or as many as the server allows."


class Model(BaseModel):
    """Refuses fields that it does not know, so that a typing error does not go unnoticed."""

    model_config = ConfigDict(extra="forbid")


class History(Model):
    """Items that somebody had."""

    user: Id | None = Field(
        None,
        description="Name of the list. Of a known user, the items are added to the known ones.",
        examples=["someone-new"],
    )
    items: list[Id] = Field(description="Item ids, the latest last.", examples=[["lamp", "desk"]])


class FilterSpec(Model):
    """Which items may be listed."""

    items: list[Id] | None = Field(None, description="Only these, such as those in stock.")
    exclude: list[Id] = Field([], description="Not these.")
    exclude_for: dict[Id, list[Id]] = Field({}, description="Not these for this user, by user.")
    where: dict[Id, list[Id]] = Field(
        {},
        description="Only items with one of the values in a column of the item table; several "
        "columns must all fit.",
        examples=[{"category": ["lamps", "desks"]}],
    )


class RecommendRequest(Model):
    """Whom to recommend to, and what."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"users": ["42"], "k": 5, "reasons": 2}]},
    )
    users: list[Id] = Field([], description="Users of the dataset.")
    histories: list[History] = Field([], description="New users, and newer items of known ones.")
    filters: FilterSpec = Field(default_factory=FilterSpec)
    k: int | None = Field(None, ge=1, description=K_DESCRIPTION)
    reasons: int = Field(0, ge=0, description="Items of the history that explain each entry.")
    include_seen: bool = Field(False, description="Also recommend items of the history.")
    skip_unknown: bool = Field(False, description="Skip unknown users and items, with a note.")


class ItemInfo(Model):
    """An item by name."""

    item: str
    title: str | None
    image: str | None = Field(description="Its picture, relative to the address of the server.")


class ReasonInfo(Model):
    """An item of the history that spoke for an entry."""

    item: str
    title: str | None
    share: float = Field(description="Its share; those of the whole history add up to the score.")


class Entry(ItemInfo):
    """A listed item."""

    score: float
    reasons: list[ReasonInfo] | None = Field(None, description="null: not asked for.")


class ListOfUser(Model):
    """Items for a user or a history, the best first."""

    user: str | None
    is_popular: bool = Field(
        description="The most popular items: nothing is known, or nothing is related to it."
    )
    items: list[Entry]


class RecommendAnswer(Model):
    """A list for each user, then one for each history."""

    run: str
    lists: list[ListOfUser]
    notes: list[str] = Field(description="What was skipped.")


class SimilarAnswer(ItemInfo):
    """Items similar to an item, the most similar first."""

    items: list[Entry]
    notes: list[str]


class ItemAnswer(ItemInfo):
    """All that the run knows of an item."""

    n_users: int = Field(description="Users who had it.")
    columns: dict[str, Any] = Field(description="Its row of the item table.")


class ItemsAnswer(Model):
    """Items whose title or id has all words of a query."""

    items: list[ItemInfo]


class UserAnswer(Model):
    """A user's history."""

    user: str
    n_items: int = Field(description="Items of the whole history.")
    history: list[ItemInfo] = Field(description="In the order of the catalog.")


class UsersAnswer(Model):
    """Users whose id begins with, or has, a text."""

    users: list[str]


class ColumnInfo(Model):
    """A column that lists can be filtered by."""

    name: str
    values: list[str] | None = Field(description="All of them; null where there are many.")


class InfoAnswer(Model):
    """The served run and what it can do."""

    run: str
    dataset: str
    model: str
    version: str
    loaded: str = Field(description="When, in UTC.")
    n_users: int
    n_items: int
    has_titles: bool
    has_images: bool
    has_reasons: bool
    has_similar: bool
    scores_new_users: bool
    columns: list[ColumnInfo]
    max_k: int
    max_reasons: int


class HealthAnswer(Model):
    """Whether the server answers."""

    status: str
    run: str | None = Field(None, description="Said to those with the token.")
    reload_error: str | None = Field(None, description="Why a newer run is not served.")


class ErrorAnswer(Model):
    """An error in one line."""

    error: str = Field(examples=["unknown user '42'"])
