#!/bin/sh
# Four nodes of a testbed on this machine, until Ctrl-C: sh four_nodes.sh [PORT ...]
set -eu
nodes=
trap 'kill $nodes 2>/dev/null || true; wait' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
[ $# -gt 0 ] || set -- 5571 5572 5573 5574
for port; do
  mecpart node --listen "tcp://127.0.0.1:$port" &
  nodes="$nodes $!"
done
wait
