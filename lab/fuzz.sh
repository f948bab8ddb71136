#!/bin/sh
# Runs every fuzz target of the module for the time given (default 10s), one a
# processor at a time; each package is built once. Prints what fails, whole.
set -eu
time=${1:-10s}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for dir in $(go list -f '{{.Dir}}' ./...); do
  targets=$(grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go 2>/dev/null | sed 's/^func //' | sort -u) || true
  [ -n "$targets" ] || continue
  n=$(ls "$work" | wc -l)
  (cd "$dir" && go test -c -fuzz=Fuzz -o "$work/$n.test" .)
  for t in $targets; do echo "$dir $work/$n.test $t"; done >>"$work/list"
done
[ -s "$work/list" ] || { echo "no fuzz target found" >&2; exit 1; }
cat >"$work/one" <<'E2'
#!/bin/sh
dir=$1 binary=$2 target=$3 time=$4 cache=$5
cd "$dir"
if said=$("$binary" -test.run '^$' -test.fuzz "^$target\$" -test.fuzztime "$time" -test.fuzzminimizetime 10x -test.parallel 1 -test.fuzzcachedir "$cache" 2>&1); then
  echo "ok    $target  $(echo "$said" | grep -oE 'execs: [0-9]+' | tail -n 1)  $dir"
elif echo "$said" | grep -q 'context deadline exceeded' && ! echo "$said" | grep -qE 'Failing input|panic|fuzzing process'; then
  # The engine was cut off by its own time while a worker still answered; no
  # input failed. A target that only ever ends so would show no execs here.
  echo "ok    $target  $(echo "$said" | grep -oE 'execs: [0-9]+' | tail -n 1)  $dir  (ended by its time)"
else
  echo "FAIL  $target  $dir"; echo "$said"; exit 1
fi
E2
chmod +x "$work/one"
xargs -P "$(nproc)" -n 3 sh -c "\"$work/one\" \"\$1\" \"\$2\" \"\$3\" $time $work/cache" fuzz <"$work/list"
echo "$(wc -l <"$work/list") fuzz targets passed"
