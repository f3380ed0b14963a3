#!/usr/bin/env bash
# A shop's night with everything: yesterday's model on today's orders, a training that starts from
# it, a refit on all orders, lists with filters and reasons, similar products.
#   examples/shop.sh EXPORT_DIR WORK_DIR
# EXPORT_DIR holds orders.csv (customer, product, type, date), items.csv (product, title, category,
# ...), stock.csv (product), returned.csv (customer, product: not again) and, if there are any,
# arrivals.csv (product: new in the catalog, a mail of its own), today.csv (customer, product:
# purchases since the export) and new-items.csv (like items.csv: arrived since the export).
# WORK_DIR/lists.csv is replaced at the end, in one rename; a night that fails leaves the old one.
# Settings: TRAIN_OPTIONS of the training, K, REASONS, CATEGORY of a list of its own; WEIGHT such as
# "view=1,cart=3,buy=10", CATALOG=all and ADD_ITEMS=1, where this version has them.
set -euo pipefail
export_dir=$1 work=$2
read -ra ld4mrec <<< "${LD4MREC:-ld4mrec}" # such as LD4MREC="python -m ld4mrec_cli"
read -ra train_options <<< "${TRAIN_OPTIONS:-}"
mkdir -p "$work/runs"
exec 9> "$work/night.lock"
flock --nonblock 9 || { echo "another night is still running" >&2; exit 1; }
night=$(date +%Y%m%d-%H%M%S)

# 1. Today's data: split in time to choose the epoch, and all of it to serve.
prepare=("${ld4mrec[@]}" prepare --interactions "$export_dir/orders.csv" --items "$export_dir/items.csv"
  --k-core 0 --overwrite)
[ -z "${WEIGHT:-}" ] || prepare+=(--column event=type --weight "$WEIGHT")
"${prepare[@]}" --split global-time --out "$work/data/split"
[ -z "${CATALOG:-}" ] || prepare+=(--catalog "$CATALOG")
"${prepare[@]}" --split none --out "$work/data/all"

# 2. How good is yesterday's model today? Train on from it.
start=()
if [ -e "$work/chosen" ]; then
  "${ld4mrec[@]}" evaluate --run "$work/chosen" --data "$work/data/split" --on-unknown skip --k 20
  start=(--init "$(readlink -f "$work/chosen")")
fi
trained="$work/runs/$night-trained" served="$work/runs/$night-served"
"${ld4mrec[@]}" train --data "$work/data/split" --run "$trained" \
  "${start[@]}" "${train_options[@]}"
"${ld4mrec[@]}" evaluate --run "$trained" --k 20

# 3. Serve what has seen everything.
"${ld4mrec[@]}" refit --run "$trained" --data "$work/data/all" --out "$served"
"${ld4mrec[@]}" recommend --run "$served" --all --items-file "$export_dir/stock.csv" \
  --exclude-file "$export_dir/returned.csv" --k "${K:-20}" --out "$work/lists.new.csv"
if [ -s "$export_dir/arrivals.csv" ]; then
  "${ld4mrec[@]}" recommend --run "$served" --all --items-file "$export_dir/arrivals.csv" \
    --k 3 --out "$work/arrivals.csv"
fi
if [ -n "${CATEGORY:-}" ]; then
  "${ld4mrec[@]}" recommend --run "$served" --all --where "category=$CATEGORY" \
    --k "${K:-20}" --out "$work/category.csv"
fi
if [ -s "$export_dir/today.csv" ]; then
  "${ld4mrec[@]}" recommend --run "$served" --histories-file "$export_dir/today.csv" \
    --skip-unknown --k "${K:-20}" --reasons "${REASONS:-2}" --out "$work/today.json"
fi
"${ld4mrec[@]}" similar --run "$served" --all --items-file "$export_dir/stock.csv" \
  --k 10 --out "$work/similar.csv"

# 4. Products that arrived since: by their content, without another training.
if [ -n "${ADD_ITEMS:-}" ] && [ -s "$export_dir/new-items.csv" ]; then
  "${ld4mrec[@]}" add-items --run "$served" --items "$export_dir/new-items.csv" --out "$served-new"
  "${ld4mrec[@]}" recommend --run "$served-new" --all --items-file "$export_dir/new-items.csv" \
    --k "${K:-20}" --out "$work/new.csv"
fi

n_lists=$(tail -n +2 "$work/lists.new.csv" | cut -d, -f1 | sort -u | wc -l)
if [ "$n_lists" -lt "${MIN_LISTS:-1}" ]; then
  echo "only $n_lists lists: the old ones stay" >&2
  exit 1
fi
mv "$work/lists.new.csv" "$work/lists.csv"
ln -sfn "$(readlink -f "$trained")" "$work/chosen"
"${ld4mrec[@]}" runs "$work/runs"
echo "$n_lists lists, from $served"
# Runs are some days back at hand; older ones go, but not the one that tomorrow starts from.
find "$work/runs" -mindepth 1 -maxdepth 1 -type d -mtime "+${KEEP_DAYS:-7}" \
  ! -name "$night-*" -exec rm -r {} +
