"""Fuzz the readers of raw data: damaged files are refused in one line or read, never a crash.

Each case is a small valid raw folder. One of its files is mutated, then `ld4mrec prepare` runs in
this process. Example::

    python examples/robustness/fuzz_readers.py --inputs 2000 --seed 0
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import random
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).parent))
from common import Tally, run_command, scratch, shorten
from mutate import mutate

Folder = dict[str, bytes]
"""Content by file name."""
USERS, ITEMS = 8, 6
PAIRS = [(user, item) for user in range(USERS) for item in range(ITEMS) if (user + item) % 2]


def save(write: Callable[[io.BytesIO], object]) -> bytes:
    """Bytes that a function writes."""
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def json_lines(records: Sequence[Mapping[str, object]]) -> bytes:
    """Records as JSON lines."""
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def make_cases() -> dict[str, Folder]:
    """A small valid raw folder per reader and kind of file."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(ITEMS, 3)).astype(np.float32)
    ids = [f"i{item}" for item in range(ITEMS)]
    table = "user,item,rating,timestamp\n" + "".join(
        f'u{user},"i{item}",{1 + user % 5},{1_600_000_000 + user}\n' for user, item in PAIRS
    )
    items = "item,title,brand\n" + "".join(f'{i},"A, hat {i}",Acme\n' for i in ids)
    frame = pl.DataFrame(
        {
            "user": [f"u{user}" for user, _ in PAIRS],
            "item": [f"i{item}" for _, item in PAIRS],
            "rating": [float(user % 5) for user, _ in PAIRS],
        }
    )
    mmrec = "userID\titemID\trating\tx_label\n" + "".join(
        f"{user}\t{item}\t1.0\t{n % 3}\n" for n, (user, item) in enumerate(PAIRS)
    )
    recbole = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + "".join(
        f"{user}\t{item}\t2.5\t{user}\n" for user, item in PAIRS
    )
    recbole_items = "item_id:token\ttitle:token_seq\tvec:float_seq\n" + "".join(
        f"{item}\tA hat\t1 {item}\n" for item in range(ITEMS)
    )
    return {
        "table csv": {"interactions.csv": table.encode(), "items.csv": items.encode()},
        "table parquet": {
            "interactions.parquet": save(frame.write_parquet),
            "items.csv": items.encode(),
        },
        "features npz": {
            "interactions.csv": table.encode(),
            "image_feat.npz": save(lambda b: np.savez_compressed(b, ids=ids, features=features)),
        },
        "features parquet": {
            "interactions.csv": table.encode(),
            "image_feat.parquet": save(
                pl.DataFrame({"item": ids, "v": features.tolist()}).write_parquet
            ),
        },
        "mmrec": {
            "x.inter": mmrec.encode(),
            "image_feat.npy": save(lambda b: np.save(b, features)),
        },
        "recbole": {"y.inter": recbole.encode(), "y.item": recbole_items.encode()},
        **make_movielens_cases(),
        **make_amazon_cases(),
    }


def make_movielens_cases() -> dict[str, Folder]:
    """The kinds of MovieLens releases: latest and 20M, 1M and 10M, 100K."""
    ratings = [f"{u + 1}\t{i + 1}\t{1 + u % 5}\t{880_000_000 + u}\n" for u, i in PAIRS]
    movies = [(str(i + 1), f"Hat, The {i} (1995)", "Comedy|Drama") for i in range(ITEMS)]
    flags = "|".join("01"[genre in (5, 8)] for genre in range(19))
    movies_100k = "".join(
        f"{movie}|Caf\xe9 {title}|01-Jan-1995||http://x/{movie}|{flags}\n"
        for movie, title, _ in movies
    )
    csv_ratings = "".join(line.replace("\t", ",") for line in ratings)
    csv_movies = "".join(f'{movie},"{title}",{genres}\n' for movie, title, genres in movies)
    return {
        "movielens csv": {
            "ratings.csv": f"userId,movieId,rating,timestamp\n{csv_ratings}".encode(),
            "movies.csv": f"movieId,title,genres\n{csv_movies}".encode(),
        },
        "movielens dat": {
            "ratings.dat": "".join(line.replace("\t", "::") for line in ratings).encode(),
            "movies.dat": "".join("::".join(movie) + "\n" for movie in movies).encode(),
        },
        "movielens 100k": {
            "u.data": "".join(ratings).encode(),
            "u.item": movies_100k.encode("latin-1"),
        },
    }


def make_amazon_cases() -> dict[str, Folder]:
    """The generations of Amazon reviews."""
    reviews = json_lines(
        [
            {"reviewerID": f"A{u}", "asin": f"B{i}", "overall": 5.0, "unixReviewTime": u}
            for u, i in PAIRS
        ]
    )
    meta = b"".join(
        f"{{'asin': 'B{i}', 'title': 'A \\xe9 hat', 'categories': [['a', 'b']]}}\n".encode()
        for i in range(ITEMS)
    )
    vectors = b"".join(
        f"B{i}".ljust(10).encode() + np.full(4096, 0.5, "<f4").tobytes() for i in range(2)
    )
    new_reviews = json_lines(
        [
            {"user_id": f"A{u}", "parent_asin": f"B{i}", "rating": 4.0, "timestamp": 10**12 + u}
            for u, i in PAIRS
        ]
    )
    new_meta = json_lines(
        [{"parent_asin": f"B{i}", "title": "Hat", "description": ["x"]} for i in range(ITEMS)]
    )
    ratings = "".join(f"A{u:013d},B{i:09d},5.0,1400000000\n" for u, i in PAIRS).encode()
    return {
        "amazon 2014": {"reviews_x.json": reviews, "meta_x.json": meta},
        "amazon gzip": {"reviews_x.json.gz": gzip.compress(reviews, mtime=0)},
        "amazon images": {"reviews_x.json": reviews, "image_features_x.b": vectors},
        "amazon 2023": {"X.jsonl": new_reviews, "meta_X.jsonl": new_meta},
        "amazon ratings": {"ratings_x.csv": ratings},
    }


def fuzz(name: str, folder: Folder, inputs: int, seed: int, where: Path) -> Tally:
    """Run `prepare` on mutated copies of a folder."""
    rng, tally = random.Random(f"{seed} {name}"), Tally()
    raw, out = where / "raw", where / "out"
    for number in range(inputs):
        for path in (raw, out):
            shutil.rmtree(path, ignore_errors=True)
        raw.mkdir()
        target = rng.choice(sorted(folder))
        for file, content in folder.items():
            (raw / file).write_bytes(mutate(content, rng) if file == target else content)
        skip = ("--on-error", "skip") if rng.random() < 0.3 else ()
        arguments = ("--raw", raw, "--out", out, "--k-core", 0, *skip)
        outcome = run_command("prepare", *arguments, "--set", "prepare.text_dim=2")
        kind = outcome.kind
        if kind == "refused" and out.exists():
            kind = "left half-written"
        tally.add(kind, f"{name}, input {number}, {target}: {shorten(outcome.err)}")
    return tally


def main() -> None:
    """Fuzz every case and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=2000, help="inputs per case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", help="this case only")
    options = parser.parse_args()
    n_bugs = 0
    with scratch() as where:
        for name, folder in make_cases().items():
            if options.case in (None, name):
                tally = fuzz(name, folder, options.inputs, options.seed, where)
                print(f"{name}: {tally}", *tally.bugs[:10], sep="\n  ", flush=True)
                n_bugs += len(tally.bugs)
    sys.exit(1 if n_bugs else 0)


if __name__ == "__main__":
    main()
