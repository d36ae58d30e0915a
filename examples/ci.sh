#!/usr/bin/env bash
# What a CI job does with an embedding model: export it, serve it, check that it gives the vectors it should, use it.
#
#   examples/ci.sh [MODEL]         OVEMBED_BACKEND=docker examples/ci.sh
set -euo pipefail

model=${1:-sentence-transformers/all-MiniLM-L6-v2}
texts=$(dirname "$0")/texts.txt
work=$(mktemp -d)
server=ci-$$
trap 'ovembed stop "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

ovembed export "$model" --repository "$work/models" --name under-test
ovembed serve --repository "$work/models" --detach --name "$server" --port 0 --url-file "$work/url"
url=$(cat "$work/url")
ovembed health "$url" --wait 60 --deep --repository "$work/models"
ovembed embed "$texts" --url "$url" --model under-test --truncate --output "$work/vectors.jsonl"
echo "$(wc -l <"$work/vectors.jsonl") lines of vectors from $url"
