#!/bin/sh
# Runs every fuzz target of the module for the time given (default 10s).
set -eu
time=${1:-10s}
n=0
for pkg in $(go list ./...); do
  dir=$(go list -f '{{.Dir}}' "$pkg")
  for target in $(grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go 2>/dev/null | sed 's/^func //' | sort -u); do
    echo "fuzz $pkg $target $time"
    go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$pkg"
    n=$((n + 1))
  done
done
[ "$n" -gt 0 ] || { echo "no fuzz target found" >&2; exit 1; }
echo "$n fuzz targets passed"
