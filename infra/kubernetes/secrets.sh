#!/usr/bin/env bash
# Print token-secret.yaml with a new random value for each secret:
#   bash infra/kubernetes/secrets.sh | kubectl create --filename -
# `kubectl create` refuses what exists, so no secret of a running cluster is replaced. No value stands on a command line.
set -euo pipefail

text=$(<"$(dirname "$0")/token-secret.yaml")
while [[ $text == *': <random>'* ]]; do
  value=$(head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' | base64 -w 0)
  text=${text/': <random>'/": $value"}
done
printf '%s\n' "$text"
