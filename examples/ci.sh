#!/usr/bin/env bash
# Train on raw data and fail unless test Recall@20 passes a bar: for a CI job.
#   examples/ci.sh RAW_DIR CONFIG.yaml MIN_RECALL
set -euo pipefail
raw=$1 config=$2 bar=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

ld4mrec prepare --raw "$raw" --out "$work/data" --config "$config"
ld4mrec train --config "$config" --data "$work/data" --run "$work/run"
ld4mrec evaluate --run "$work/run" --k 20 --format json > "$work/metrics.json"
ld4mrec recommend --run "$work/run" --all --k 20 --out "$work/recommendations.csv"

python3 - "$work/metrics.json" "$bar" <<'PYTHON'
import json, sys
recall = json.load(open(sys.argv[1]))["metrics"]["recall@20"]
print(f"recall@20 {recall:.4f}, bar {sys.argv[2]}")
sys.exit(recall < float(sys.argv[2]))
PYTHON
