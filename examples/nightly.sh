#!/usr/bin/env bash
# A shop's nightly job: refit a chosen run on all orders, write everyone's list of items in stock.
#   examples/nightly.sh EXPORT_DIR WORK_DIR CHOSEN_RUN
# EXPORT_DIR holds orders.csv (customer, product, date), items.csv (product, title, category, ...),
# stock.csv (product) and, if there are any, today.csv (customer, product): purchases since the export.
# WORK_DIR/lists.csv is replaced at the end, in one rename; a night that fails leaves the old one.
set -euo pipefail
export_dir=$1 work=$2 chosen=$3
read -ra ld4mrec <<< "${LD4MREC:-ld4mrec}" # such as LD4MREC="python -m ld4mrec_cli"
mkdir -p "$work/runs"
exec 9> "$work/nightly.lock"
flock --nonblock 9 || { echo "another night is still running" >&2; exit 1; }

"${ld4mrec[@]}" prepare --interactions "$export_dir/orders.csv" --items "$export_dir/items.csv" \
  --split none --k-core "${K_CORE:-0}" --out "$work/data" --overwrite
run="$work/runs/$(date +%Y%m%d-%H%M%S)"
"${ld4mrec[@]}" refit --run "$chosen" --data "$work/data" --out "$run"
"${ld4mrec[@]}" recommend --run "$run" --all --items-file "$export_dir/stock.csv" \
  --k "${K:-20}" --out "$work/lists.new.csv"
if [ -s "$export_dir/today.csv" ]; then
  "${ld4mrec[@]}" recommend --run "$run" --histories-file "$export_dir/today.csv" --skip-unknown \
    --items-file "$export_dir/stock.csv" --k "${K:-20}" --out "$work/today.csv"
fi

n_lists=$(tail -n +2 "$work/lists.new.csv" | cut -d, -f1 | sort -u | wc -l)
if [ "$n_lists" -lt "${MIN_LISTS:-1}" ]; then
  echo "only $n_lists lists: the old ones stay" >&2
  exit 1
fi
mv "$work/lists.new.csv" "$work/lists.csv"
echo "$n_lists lists, from $run"
# Runs are some days back at hand; older ones go.
find "$work/runs" -mindepth 1 -maxdepth 1 -type d -mtime "+${KEEP_DAYS:-7}" -exec rm -r {} +
