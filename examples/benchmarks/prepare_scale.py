"""Time and memory of `ld4mrec prepare` on generated Amazon reviews of any size.

    python examples/benchmarks/prepare_scale.py --reviews 5000000 --items 500000 \\
        --generation 2018 --dir /tmp/scale

Users and items follow power laws. Reviews have a few hundred characters of text, which `prepare`
reads and drops. The same arguments give the same files; existing files are used again.
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

CHUNK = 100_000
WORDS = 30_000
NAMES = {
    "2014": ("reviews_Scale.json.gz", "meta_Scale.json.gz"),
    "2018": ("Scale.json.gz", "meta_Scale.json.gz"),
    "2023": ("Scale.jsonl.gz", "meta_Scale.jsonl.gz"),
}


class Language:
    """Made-up words with Zipf frequencies, and texts cut from one long stream of them."""

    def __init__(self, rng: np.random.Generator) -> None:
        syllables = [
            c + v for c in "bcdfghklmnprstvz" for v in ("a", "e", "i", "o", "u", "ar", "en")
        ]
        picks = rng.integers(0, len(syllables), size=(WORDS, 3))
        words = ["".join(syllables[p] for p in row[: 1 + n % 3]) for n, row in enumerate(picks)]
        frequency = 1.0 / np.arange(3, WORDS + 3)
        self.stream = " ".join(
            words[w] for w in rng.choice(WORDS, size=2_000_000, p=frequency / frequency.sum())
        )

    def texts(self, rng: np.random.Generator, count: int, shortest: int, longest: int) -> list[str]:
        """Texts of between ``shortest`` and ``longest`` characters."""
        lengths = rng.integers(shortest, longest, size=count)
        starts = rng.integers(0, len(self.stream) - longest, size=count)
        return [
            self.stream[a : a + n] for a, n in zip(starts.tolist(), lengths.tolist(), strict=True)
        ]


def power_law(rng: np.random.Generator, n: int, count: int) -> np.ndarray:
    """``count`` indices below ``n``; the frequency of rank r is proportional to 1 / sqrt(r)."""
    return np.minimum((n * rng.random(count) ** 2).astype(np.int64), n - 1)


def review_2014(user: str, item: str, rating: int, seconds: int, text: str) -> str:
    return (
        f'{{"reviewerID": "{user}", "asin": "{item}", "reviewerName": "A. Customer", '
        f'"helpful": [0, 1], "reviewText": "{text}", "overall": {rating}.0, '
        f'"summary": "{text[:30]}", "unixReviewTime": {seconds}, '
        f'"reviewTime": "06 17, 2013"}}\n'
    )


def review_2018(user: str, item: str, rating: int, seconds: int, text: str) -> str:
    return (
        f'{{"overall": {rating}.0, "verified": true, "reviewTime": "06 17, 2018", '
        f'"reviewerID": "{user}", "asin": "{item}", "style": {{"Size:": " 50"}}, '
        f'"reviewerName": "A. Customer", "reviewText": "{text}", '
        f'"summary": "{text[:30]}", "unixReviewTime": {seconds}}}\n'
    )


def review_2023(user: str, item: str, rating: int, seconds: int, text: str) -> str:
    return (
        f'{{"rating": {rating}.0, "title": "{text[:30]}", "text": "{text}", "images": [], '
        f'"asin": "{item}", "parent_asin": "{item}", "user_id": "{user}XYZXYZXYZXYZXY", '
        f'"timestamp": {seconds * 1000 + 17}, '
        f'"helpful_vote": 0, "verified_purchase": true}}\n'
    )


REVIEWS: dict[str, Callable[[str, str, int, int, str], str]] = {
    "2014": review_2014,
    "2018": review_2018,
    "2023": review_2023,
}


def metadata(generation: str, item: str, text: str) -> str:
    title, kind, body = text[:60], text[60:75].strip(), text[75:]
    if generation == "2014":
        record = {
            "asin": item,
            "title": title,
            "brand": kind,
            "categories": [["All", kind]],
            "description": body,
        }
        return repr(record | {"imUrl": "http://images/x.jpg", "salesRank": {"All": 7}}) + "\n"
    if generation == "2018":
        record = {
            "category": ["All", kind],
            "description": [body],
            "title": title,
            "also_buy": [item] * 5,
        }
        return (
            json.dumps(record | {"brand": kind, "main_cat": "All", "asin": item, "imageURL": []})
            + "\n"
        )
    record = {
        "main_category": "All",
        "title": title,
        "features": [body[:80]],
        "description": [body],
        "store": kind,
    }
    return (
        json.dumps(
            record | {"categories": ["All", kind], "details": {"Brand": kind}, "parent_asin": item}
        )
        + "\n"
    )


def write(path: Path, pieces: Iterator[str]) -> None:
    partial = path.with_name(path.name + ".partial")
    with gzip.GzipFile(partial, "wb", compresslevel=1, mtime=0) as handle:
        for piece in pieces:
            handle.write(piece.encode())
    partial.rename(path)


def reviews(
    generation: str, count: int, users: int, items: int, language: Language
) -> Iterator[str]:
    rng = np.random.default_rng(1)
    line = REVIEWS[generation]
    for start in range(0, count, CHUNK):
        n = min(CHUNK, count - start)
        texts = language.texts(rng, n, 100, 700)
        who, what = power_law(rng, users, n).tolist(), power_law(rng, items, n).tolist()
        stars, when = (
            rng.integers(1, 6, n).tolist(),
            rng.integers(1_300_000_000, 1_500_000_000, n).tolist(),
        )
        yield "".join(
            line(f"A{u:013d}", f"B{i:09d}", r, t, text)
            for u, i, r, t, text in zip(who, what, stars, when, texts, strict=True)
        )


def all_metadata(generation: str, items: int, language: Language) -> Iterator[str]:
    rng = np.random.default_rng(2)
    for start in range(0, items, CHUNK):
        n = min(CHUNK, items - start)
        texts = language.texts(rng, n, 300, 1500)
        yield "".join(
            metadata(generation, f"B{start + k:09d}", text) for k, text in enumerate(texts)
        )


def generate(raw: Path, generation: str, count: int, items: int) -> None:
    """Write reviews and metadata, unless they are there."""
    raw.mkdir(parents=True, exist_ok=True)
    names = [raw / name for name in NAMES[generation]]
    if all(path.exists() for path in names):
        return
    language = Language(np.random.default_rng(0))
    write(names[0], reviews(generation, count, max(1, count // 8), items, language))
    write(names[1], all_metadata(generation, items, language))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reviews", type=int, default=5_000_000)
    parser.add_argument("--items", type=int, default=500_000)
    parser.add_argument("--generation", choices=sorted(NAMES), default="2018")
    parser.add_argument(
        "--dir", type=Path, required=True, help="where the files are generated and prepared"
    )
    arguments = parser.parse_args()

    raw = arguments.dir / f"amazon-{arguments.generation}-{arguments.reviews}-{arguments.items}"
    began = time.perf_counter()
    generate(raw, arguments.generation, arguments.reviews, arguments.items)
    packed = sum(path.stat().st_size for path in raw.iterdir())
    print(
        f"generated in {time.perf_counter() - began:.0f} s: "
        f"{packed / 1e6:,.0f} MB gzipped in {raw}",
        flush=True,
    )

    out = arguments.dir / f"{raw.name}-prepared"
    command = [
        sys.executable,
        "-m",
        "ld4mrec_cli",
        "prepare",
        "--raw",
        raw,
        "--out",
        out,
        "--overwrite",
    ]
    began = time.perf_counter()
    code = subprocess.run([str(part) for part in command], check=False).returncode
    seconds = time.perf_counter() - began
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(
        f"prepare: {seconds:.1f} s ({usage.ru_utime + usage.ru_stime:.1f} s of CPU), "
        f"peak {peak / 1e9:.2f} GB, "
        f"{arguments.reviews / seconds:,.0f} reviews per second, {packed / 1e6:,.0f} MB read"
    )
    return code


if __name__ == "__main__":
    raise SystemExit(main())
